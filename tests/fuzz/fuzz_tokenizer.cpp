// An untrusted tokenizer.json, and a prompt for it.
#include "memory_file.h"
#include "support/temp_dir.h"
#include "text/tokenizer.h"
#include "wan/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const wan::fuzz::MemoryFile file(bytes, size);
  static const wan::test::TempDir folder;
  std::filesystem::remove(folder / "tokenizer.json");
  std::filesystem::create_symlink(file.path(), folder / "tokenizer.json");
  try {
    const wan::text::Tokenizer tokenizer(folder.path());
    tokenizer.encode(
        "A cat  on a b\xC3\xA9"
        "ach, \xEF\xAC\x81ne </s> <extra_id_0>");
  } catch (const wan::Error&) {
    return 0;  // refused with a message, as expected
  }
  return 0;
}
