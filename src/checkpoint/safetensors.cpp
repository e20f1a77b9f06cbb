#include "checkpoint/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "checkpoint/file_kind.h"
#include "checkpoint/safetensors_header.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::uint64_t length_bytes = 8;  // length of the size field before the header
constexpr std::uint64_t max_header_bytes = 100'000'000;

std::string read_header_text(const UniqueFd& file, const std::filesystem::path& path,
                             std::uint64_t file_bytes) {
  if (file_bytes < length_bytes) {
    fail<UsageError>("{} is {} bytes long; a safetensors file begins with an 8-byte header length",
                     path.string(), file_bytes);
  }
  std::array<std::byte, length_bytes> raw{};
  read_at(file, path, 0, raw);
  const auto header_bytes = std::bit_cast<std::uint64_t>(raw);
  if (header_bytes > max_header_bytes) {
    fail<UsageError>(
        "{}: the header claims {} bytes; at most {} are allowed. This is not a safetensors file, or "
        "it is damaged",
        path.string(), header_bytes, max_header_bytes);
  }
  if (header_bytes > file_bytes - length_bytes) {
    fail<UsageError>("{}: the header claims {} bytes, but only {} follow its length; the file is cut off",
                     path.string(), header_bytes, file_bytes - length_bytes);
  }
  std::string text(header_bytes, '\0');
  read_at(file, path, length_bytes, std::as_writable_bytes(std::span(text)));
  return text;
}

void check_size(const HeaderTensor& tensor, std::uint64_t data_bytes, const std::filesystem::path& path) {
  if (tensor.begin_byte > tensor.end_byte || tensor.end_byte > data_bytes) {
    fail<UsageError>("{}: tensor {} lies at bytes {} to {} of the data, but the data is {} bytes long{}",
                     path.string(), in_quotes(tensor.name), tensor.begin_byte, tensor.end_byte, data_bytes,
                     tensor.end_byte > data_bytes ? "; the file is cut off or damaged" : "");
  }
  const std::optional<std::int64_t> elements = checked_elements(tensor.shape);
  std::uint64_t expected_bytes = 0;
  if (!elements || __builtin_mul_overflow(static_cast<std::uint64_t>(*elements), size_bytes(tensor.dtype),
                                          &expected_bytes)) {
    fail<UsageError>("{}: tensor {}: shape {} has more elements than can be counted", path.string(),
                     in_quotes(tensor.name), shape_text(tensor.shape));
  }
  if (tensor.end_byte - tensor.begin_byte != expected_bytes) {
    fail<UsageError>("{}: tensor {} takes {} bytes; its shape {} of {} needs {}", path.string(),
                     in_quotes(tensor.name), tensor.end_byte - tensor.begin_byte, shape_text(tensor.shape),
                     to_string(tensor.dtype), expected_bytes);
  }
}

/// Checks that the tensors, sorted by position, fill the data from its first byte to its last.
void check_coverage(std::vector<HeaderTensor>& tensors, std::uint64_t data_bytes,
                    const std::filesystem::path& path) {
  std::ranges::sort(tensors, [](const HeaderTensor& a, const HeaderTensor& b) {
    return std::tie(a.begin_byte, a.end_byte) < std::tie(b.begin_byte, b.end_byte);
  });
  std::uint64_t filled_bytes = 0;
  for (const HeaderTensor& tensor : tensors) {
    if (tensor.begin_byte < filled_bytes) {
      fail<UsageError>(
          "{}: tensor {} begins at byte {} of the data and overlaps another one, which ends at byte {}",
          path.string(), in_quotes(tensor.name), tensor.begin_byte, filled_bytes);
    }
    if (tensor.begin_byte > filled_bytes) {
      fail<UsageError>("{}: bytes {} to {} of the data, before tensor {}, belong to no tensor", path.string(),
                       filled_bytes, tensor.begin_byte, in_quotes(tensor.name));
    }
    filled_bytes = tensor.end_byte;
  }
  if (filled_bytes != data_bytes) {
    fail<UsageError>("{}: the tensors take {} bytes, but the data is {} bytes long", path.string(),
                     filled_bytes, data_bytes);
  }
}

void write_bytes(const UniqueFd& file, const std::filesystem::path& path, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_to_write("write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void check_view(const TensorView& tensor, const std::filesystem::path& path) {
  const std::optional<std::int64_t> elements = checked_elements(tensor.shape);
  if (!elements || static_cast<std::uint64_t>(*elements) * size_bytes(tensor.dtype) != tensor.bytes.size()) {
    fail("cannot write {}: tensor {} of shape {} and type {} has {} bytes", path.string(),
         in_quotes(tensor.name), shape_text(tensor.shape), to_string(tensor.dtype), tensor.bytes.size());
  }
}

}  // namespace

std::vector<TensorEntry> read_safetensors(const UniqueFd& file, const std::filesystem::path& path) {
  const std::uint64_t file_bytes = file_size_bytes(file, path);
  refuse_foreign_kind(file, path, FileFormat::safetensors);
  std::vector<HeaderTensor> tensors;
  std::uint64_t header_bytes = 0;
  {
    const std::string text = read_header_text(file, path, file_bytes);
    header_bytes = text.size();
    tensors = parse_safetensors_header(text, path.string());
  }
  const std::uint64_t data_begin = length_bytes + header_bytes;
  const std::uint64_t data_bytes = file_bytes - data_begin;
  for (const HeaderTensor& tensor : tensors) check_size(tensor, data_bytes, path);
  check_coverage(tensors, data_bytes, path);

  std::vector<TensorEntry> entries;
  entries.reserve(tensors.size());
  for (HeaderTensor& tensor : tensors) {
    std::vector<std::int64_t> stride = contiguous_stride(tensor.shape);
    entries.push_back({.name = std::move(tensor.name),
                       .dtype = tensor.dtype,
                       .shape = std::move(tensor.shape),
                       .stride = std::move(stride),
                       .file = path,
                       .begin_byte = data_begin + tensor.begin_byte});
  }
  return entries;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path) {
  const UniqueFd file = open_checkpoint_file(path);
  const std::uint64_t file_bytes = file_size_bytes(file, path);
  refuse_foreign_kind(file, path, FileFormat::safetensors);
  std::map<std::string, std::string> metadata;
  parse_safetensors_header(read_header_text(file, path, file_bytes), path.string(), &metadata);
  return metadata;
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return size_bytes(tensors[a].dtype) > size_bytes(tensors[b].dtype);
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::uint64_t offset_bytes = 0;
  for (const std::size_t i : order) {
    const TensorView& tensor = tensors[i];
    check_view(tensor, path);
    if (header.contains(tensor.name) || tensor.name == "__metadata__") {
      fail("cannot write {}: the tensor name {} occurs twice or is reserved", path.string(),
           in_quotes(tensor.name));
    }
    header[tensor.name] = {{"dtype", to_string(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset_bytes, offset_bytes + tensor.bytes.size()}}};
    offset_bytes += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data begins at a multiple of 8

  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file) fail_to_write("create", path, errno);
  const std::uint64_t header_bytes = text.size();
  write_bytes(file, path, std::as_bytes(std::span(&header_bytes, 1)));
  write_bytes(file, path, std::as_bytes(std::span(text)));
  for (const std::size_t i : order) write_bytes(file, path, tensors[i].bytes);
}

}  // namespace wan::checkpoint
