// An untrusted manifest. Its first byte chooses the kind of file and of task.
#include <string_view>

#include "manifest/manifest.h"
#include "manifest/row_list.h"
#include "wan/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(bytes + 1), size - 1);
  const auto kind = (bytes[0] & 1U) != 0 ? wan::TaskKind::t2v : wan::TaskKind::i2v;
  const char* path = (bytes[0] & 2U) != 0 ? "input.jsonl" : "input.csv";
  try {
    wan::manifest::list_rows(text, path, {}, {}, [](std::string_view) {});
    wan::manifest::parse_manifest(text, path, kind);
  } catch (const wan::UsageError&) {
    return 0;  // refused with a message, as expected
  }
  return 0;
}
