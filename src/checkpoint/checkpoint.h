#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/kept_bytes.h"
#include "checkpoint/part.h"
#include "checkpoint/tensor_file.h"

namespace wan::checkpoint {

/// The tensors of a model by name, from one or several files. Opening reads only headers. Tensor data are
/// read when they are requested, and only the requested ones. The files stay open. Several threads may read.
class Checkpoint {
 public:
  using Entries = std::map<std::string, TensorEntry, std::less<>>;

  /// Opens `folder`/diffusion_pytorch_model.safetensors.index.json with all its shards. Without an index,
  /// opens the single file `folder`/diffusion_pytorch_model.safetensors (model.md 1.6). Both may begin with
  /// "model" in place of "diffusion_pytorch_model". Throws UsageError:
  /// neither exists, the index is malformed, a shard is missing or is not a plain file name, or the index
  /// disagrees with the shards' tensors.
  static Checkpoint open_safetensors_folder(const std::filesystem::path& folder);

  /// Opens one .safetensors file. Throws UsageError.
  static Checkpoint open_safetensors_file(const std::filesystem::path& file);

  /// Opens a .pth file written by torch.save() (model.md 1.7). Throws UsageError.
  static Checkpoint open_torch_archive(const std::filesystem::path& file);

  /// Opens a .safetensors file or else a .pth file, by the ending of its name. Throws UsageError.
  static Checkpoint open_weights_file(const std::filesystem::path& file);

  /// Opens a LoRA's file as it is: as open_weights_file(), but the tensors of a .pt file may lie in an entry
  /// "state_dict". Throws UsageError.
  static Checkpoint open_lora_file(const std::filesystem::path& file);

  /// Opens a part of a model in any dialect that users' files have, and gives its tensors their official
  /// names: a .safetensors or .pth file, or a folder with diffusion_pytorch_model.safetensors or
  /// model.safetensors (or their .index.json and shards). See dialects/dialect.h and dialects/scales.h.
  /// Throws UsageError, also if the file holds another part, mixes dialects, or lacks the scales of its
  /// weights.
  static Checkpoint open_part(Part part, const std::filesystem::path& path);

  const std::filesystem::path& source() const { return source_; }  ///< the folder or file that was opened
  const Entries& entries() const { return entries_; }
  std::vector<std::string> names() const;  ///< in alphabetical order
  bool contains(std::string_view name) const { return entries_.contains(name); }
  /// Throws UsageError if there is no such tensor.
  const TensorEntry& entry(std::string_view name) const;

  /// Reads elements [first_element, first_element + out.size()) of a tensor of this checkpoint, counted
  /// row-major, as floats. For a contiguous tensor it reads exactly the bytes of that range (and its scales);
  /// for a strided one it reads at least those. Throws UsageError if the type is not floating-point. Throws
  /// Error if the range is not inside the tensor or the file cannot be read.
  void read_floats(const TensorEntry& entry, std::int64_t first_element, std::span<float> out) const;

  /// The same as bfloat16 bits. Wider types in the file are rounded to nearest even.
  void read_bf16(const TensorEntry& entry, std::int64_t first_element, std::span<std::uint16_t> out) const;

  /// The same as the file has them, of any type, little-endian. The elements must be stored plainly
  /// (is_stored_plainly()).
  void read_stored(const TensorEntry& entry, std::int64_t first_element, std::span<std::byte> out) const;

  /// From now on keeps what is read from the files in host memory, up to so many bytes, and reads the same
  /// ranges from there. Call it before threads read.
  void keep_in_memory(std::uint64_t most_bytes) { kept_ = std::make_unique<KeptBytes>(most_bytes); }
  /// Bytes that are kept.
  std::uint64_t bytes_kept() const { return kept_ ? kept_->bytes() : 0; }

  /// Bytes of tensor data that all threads have read from files so far.
  std::uint64_t bytes_read() const { return bytes_read_->load(std::memory_order_relaxed); }

 private:
  /// Receives `elements` stored elements in row-major order. The first one is element `first` of the range
  /// that is read.
  using Sink = std::function<void(std::size_t first, std::span<const std::byte> bytes)>;

  explicit Checkpoint(std::filesystem::path source) : source_(std::move(source)) {}
  void add_file(const std::filesystem::path& path, UniqueFd file, std::vector<TensorEntry>&& tensors);
  /// Calls read(part, first element in it, elements before it in the range, elements) for each part of the
  /// range.
  void for_each_part(
      const TensorEntry& entry, std::int64_t first_element, std::size_t elements,
      const std::function<void(const TensorEntry&, std::int64_t, std::size_t, std::size_t)>& read) const;
  /// Multiplies fp8 values, of the range that begins at `first_element`, by their scales, and rounds to bf16.
  void apply_scale(const TensorEntry& entry, std::int64_t first_element, std::span<float> values) const;
  void check_range(const TensorEntry& entry, std::int64_t first_element, std::size_t elements) const;
  void read_file(const TensorEntry& entry, std::uint64_t offset_bytes, std::span<std::byte> out) const;
  void read_contiguous(const TensorEntry& entry, std::int64_t first_element, std::size_t elements,
                       const Sink& sink) const;
  void read_strided(const TensorEntry& entry, std::int64_t first_element, std::size_t out_first,
                    std::size_t elements, const Sink& sink) const;
  void read_elements(const TensorEntry& entry, std::int64_t first_element, std::size_t elements,
                     const Sink& sink) const;

  std::filesystem::path source_;
  Entries entries_;
  std::map<std::filesystem::path, UniqueFd> files_;
  std::unique_ptr<KeptBytes> kept_;
  std::unique_ptr<std::atomic<std::uint64_t>> bytes_read_ = std::make_unique<std::atomic<std::uint64_t>>(0);
};

/// The index of a folder's shards, or else its only file of weights; empty if it has neither.
std::filesystem::path part_entry_file(const std::filesystem::path& folder);

/// The part whose weights a file holds, in any dialect; nothing if it is none that is known. Throws
/// UsageError if the file cannot be read.
std::optional<Part> part_in(const std::filesystem::path& file);

/// A tensor that a model needs.
struct ExpectedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
};

/// Tensors of a file that a model does not use.
enum class ExtraTensors { refused, ignored };

/// Throws one UsageError that lists the tensors that are missing, those that are unexpected (unless they are
/// ignored), and those of another shape or of a type that is not floating-point. The list gives the counts
/// and up to five names of each kind.
void expect_tensors(const Checkpoint& checkpoint, std::span<const ExpectedTensor> expected,
                    ExtraTensors extras = ExtraTensors::refused);

}  // namespace wan::checkpoint
