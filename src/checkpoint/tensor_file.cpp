#include "checkpoint/tensor_file.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "checkpoint/file_kind.h"
#include "checkpoint/locate.h"
#include "core/setting_error.h"

namespace wan::checkpoint {

std::int64_t TensorEntry::elements() const {
  const std::optional<std::int64_t> count = checked_elements(shape);
  WAN_CHECK(count.has_value(), "tensor {} has the unchecked shape {}", in_quotes(name), shape_text(shape));
  return *count;
}

std::optional<std::int64_t> checked_elements(std::span<const std::int64_t> shape) {
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0) return std::nullopt;
    empty = empty || size == 0;
    if (__builtin_mul_overflow(product, std::max<std::int64_t>(size, 1), &product)) return std::nullopt;
  }
  return empty ? 0 : product;
}

std::vector<std::int64_t> contiguous_stride(std::span<const std::int64_t> shape) {
  std::vector<std::int64_t> stride(shape.size());
  std::int64_t step = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    stride[d] = step;
    step *= std::max<std::int64_t>(shape[d], 1);
  }
  return stride;
}

bool is_contiguous(const TensorEntry& entry) {
  const std::vector<std::int64_t> expected = contiguous_stride(entry.shape);
  for (std::size_t d = 0; d < entry.shape.size(); ++d) {
    if (entry.shape[d] != 1 && entry.stride[d] != expected[d]) return false;
  }
  return true;
}

bool is_stored_plainly(const TensorEntry& entry) {
  return entry.parts.empty() && !entry.scale && !entry.negated && is_contiguous(entry);
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

std::string in_quotes(std::string_view name) {
  constexpr std::size_t shown_bytes = 120;
  std::string text = "'";
  for (const char c : name.substr(0, shown_bytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7F) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  text += name.size() > shown_bytes ? fmt::format("...' ({} bytes)", name.size()) : "'";
  return text;
}

UniqueFd open_checkpoint_file(const std::filesystem::path& path) {
  try {
    return open_regular_file(path);
  } catch (const Error& error) {
    fail_setting(folder_setting,
                 "{}{}. A checkpoint file is missing or unreadable; check the folder and its permissions",
                 error.what(), dangling_note(path));
  }
}

std::uint64_t file_size_bytes(const UniqueFd& file, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    fail<UsageError>("cannot stat {}: {}", path.string(), std::strerror(errno));
  }
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace wan::checkpoint
