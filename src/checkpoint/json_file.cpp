#include "checkpoint/json_file.h"

#include <string>

#include "checkpoint/file_kind.h"
#include "checkpoint/json_bounds.h"
#include "checkpoint/tensor_file.h"
#include "core/check.h"
#include "core/file.h"

namespace wan::checkpoint {
namespace {

constexpr int max_depth = 16;
constexpr std::size_t max_values = 1'000'000;

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
  nlohmann::json json;
  try {
    json = parse_bounded_json(text, {.depth = max_depth, .values = max_values});
  } catch (const Error& error) {
    fail<UsageError>("{}: {}", path.string(), error.what());
  }
  if (!json.is_object())
    fail<UsageError>("{}: expected a JSON object, found {}", path.string(), json.type_name());
  return json;
}

}  // namespace wan::checkpoint
