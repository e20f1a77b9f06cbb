#include "checkpoint/json_file.h"

#include <set>
#include <string>
#include <vector>

#include "checkpoint/file_kind.h"
#include "checkpoint/tensor_file.h"
#include "core/check.h"
#include "core/file.h"

namespace wan::checkpoint {
namespace {

constexpr int max_depth = 16;

std::string read_text(const std::filesystem::path& path, std::uint64_t max_bytes) {
  try {
    refuse_foreign_kind(open_regular_file(path), path, FileFormat::json);
    return read_text_file(path, max_bytes);
  } catch (const Error& error) {
    throw UsageError(error.what() + dangling_note(path));
  }
}

}  // namespace

nlohmann::json read_json_object(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const std::string text = read_text(path, max_bytes);
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > max_depth) fail<UsageError>("{}: nested more than {} deep", path.string(), max_depth);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second) {
      fail<UsageError>("{}: the key {} occurs twice in one object", path.string(),
                       in_quotes(value.get_ref<const std::string&>()));
    }
    return true;
  };
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception& error) {
    fail<UsageError>("{}: not valid JSON: {}", path.string(), in_quotes(error.what()));
  }
  if (!json.is_object())
    fail<UsageError>("{}: expected a JSON object, found {}", path.string(), json.type_name());
  return json;
}

}  // namespace wan::checkpoint
