#include "checkpoint/torch_archive.h"

#include <array>
#include <cstring>
#include <map>
#include <span>

#include "checkpoint/file_kind.h"
#include "checkpoint/pickle.h"
#include "checkpoint/zip_directory.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::uint64_t max_pickle_bytes = 16 << 20;  // the official ones take 50 KB

void expect_zip(const UniqueFd& file, const std::filesystem::path& path) {
  constexpr std::array<char, 4> zip_start{'P', 'K', 3, 4};
  std::array<char, 4> start{};
  if (file_size_bytes(file, path) >= start.size()) {
    read_at(file, path, 0, std::as_writable_bytes(std::span(start)));
  }
  refuse_foreign_kind(file, path, FileFormat::torch_archive);
  if (start != zip_start) {
    fail<UsageError>(
        "{} is not a zip archive, as torch.save() writes it since 2020. An older bare pickle is not "
        "read; load it with torch.load(weights_only=True) and save it again",
        path.string());
  }
}

/// The archive's top folder, with its slash: the folder of the only data.pkl.
std::string top_folder(const ZipDirectory& directory, const std::filesystem::path& path) {
  constexpr std::string_view suffix = "/data.pkl";
  std::string top;
  for (const auto& [name, member] : directory.members()) {
    if (!name.ends_with(suffix) || name.find('/') != name.size() - suffix.size()) continue;
    if (!top.empty()) fail<UsageError>("{}: the archive has more than one data.pkl", path.string());
    top = name.substr(0, name.size() - suffix.size() + 1);
  }
  if (top.empty()) {
    fail<UsageError>("{}: the archive has no data.pkl; it was not written by torch.save()", path.string());
  }
  return top;
}

std::string read_member(const UniqueFd& file, const std::filesystem::path& path,
                        const ZipDirectory& directory, const std::string& name, std::uint64_t max_bytes) {
  const ZipMember& member = directory.members().at(name);
  if (member.size_bytes > max_bytes) {
    fail<UsageError>("{}: member {} is {} bytes long; at most {} are read", path.string(), in_quotes(name),
                     member.size_bytes, max_bytes);
  }
  std::string bytes(member.size_bytes, '\0');
  read_at(file, path, directory.payload_byte(file, path, name, member),
          std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

void expect_little_endian(const UniqueFd& file, const std::filesystem::path& path,
                          const ZipDirectory& directory, const std::string& top) {
  const std::string name = top + "byteorder";
  // files from before torch 2.1 have no such member and are little-endian
  if (!directory.members().contains(name)) return;
  const std::string order = read_member(file, path, directory, name, 64);
  if (order != "little") {
    fail<UsageError>("{}: byte order {}; only 'little' is read", path.string(), in_quotes(order));
  }
}

/// Checks that a tensor's last element is inside its storage. Also checks that the tensor has no more
/// elements than the storage: a stride of 0 would let a small file stand for terabytes.
void check_view(const PickledTensor& tensor, const std::filesystem::path& path) {
  const std::optional<std::int64_t> elements = checked_elements(tensor.shape);
  if (!elements || *elements > tensor.storage_elements) {
    fail<UsageError>("{}: tensor {} of shape {} has more elements than its storage {}, which has {}",
                     path.string(), in_quotes(tensor.name), shape_text(tensor.shape),
                     in_quotes(tensor.storage_key), tensor.storage_elements);
  }
  std::int64_t last = tensor.storage_offset;
  bool overflow = false;
  for (std::size_t d = 0; d < tensor.shape.size() && *elements > 0; ++d) {
    std::int64_t reach = 0;
    overflow = overflow || __builtin_mul_overflow(tensor.shape[d] - 1, tensor.stride[d], &reach) ||
               __builtin_add_overflow(last, reach, &last);
  }
  const bool inside = *elements > 0 ? last < tensor.storage_elements : last <= tensor.storage_elements;
  if (overflow || !inside) {
    fail<UsageError>(
        "{}: tensor {} (shape {}, stride {}, storage offset {}) reaches beyond its storage {}, which has "
        "{} elements",
        path.string(), in_quotes(tensor.name), shape_text(tensor.shape), shape_text(tensor.stride),
        tensor.storage_offset, in_quotes(tensor.storage_key), tensor.storage_elements);
  }
}

/// Where the storage's bytes begin in the file. Throws unless all of them are there.
std::uint64_t storage_byte(const UniqueFd& file, const std::filesystem::path& path,
                           const ZipDirectory& directory, const std::string& top,
                           const PickledTensor& tensor) {
  const std::string name = top + "data/" + tensor.storage_key;
  const auto member = directory.members().find(name);
  if (member == directory.members().end()) {
    fail<UsageError>("{}: tensor {} is in the storage {}, which is not in the archive", path.string(),
                     in_quotes(tensor.name), in_quotes(name));
  }
  const std::uint64_t stored_elements = member->second.size_bytes / size_bytes(tensor.dtype);
  if (static_cast<std::uint64_t>(tensor.storage_elements) > stored_elements) {
    fail<UsageError>("{}: tensor {}: storage {} must have {} elements of {}, but is {} bytes long",
                     path.string(), in_quotes(tensor.name), in_quotes(name), tensor.storage_elements,
                     to_string(tensor.dtype), member->second.size_bytes);
  }
  return directory.payload_byte(file, path, name, member->second);
}

}  // namespace

std::vector<TensorEntry> read_torch_archive(const UniqueFd& file, const std::filesystem::path& path,
                                            StateDictLevel level) {
  expect_zip(file, path);
  const ZipDirectory directory(file, path);
  const std::string top = top_folder(directory, path);
  expect_little_endian(file, path, directory, top);
  std::vector<PickledTensor> tensors = read_pickled_state_dict(
      read_member(file, path, directory, top + "data.pkl", max_pickle_bytes), path.string(), level);

  std::vector<TensorEntry> entries;
  entries.reserve(tensors.size());
  for (PickledTensor& tensor : tensors) {
    check_view(tensor, path);
    const std::uint64_t storage = storage_byte(file, path, directory, top, tensor);
    const std::uint64_t offset_bytes =
        static_cast<std::uint64_t>(tensor.storage_offset) * size_bytes(tensor.dtype);
    entries.push_back({.name = std::move(tensor.name),
                       .dtype = tensor.dtype,
                       .shape = std::move(tensor.shape),
                       .stride = std::move(tensor.stride),
                       .file = path,
                       .begin_byte = storage + offset_bytes,
                       .negated = tensor.negated});
  }
  return entries;
}

}  // namespace wan::checkpoint
