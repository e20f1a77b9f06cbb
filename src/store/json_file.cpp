#include "store/json_file.h"

#include "core/file.h"
#include "store/output_folder.h"
#include "wan/error.h"

namespace wan::store {

using nlohmann::json;

json read_object(const std::filesystem::path& path, std::uint64_t max_bytes) {
  if (!plain_file_size(path)) return nullptr;
  try {
    json fields = json::parse(read_text_file(path, max_bytes), nullptr, false);
    return fields.is_object() ? fields : json(nullptr);
  } catch (const Error&) {
    return nullptr;
  }
}

}  // namespace wan::store
