#include "checkpoint/checkpoint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <utility>

#include "checkpoint/safetensors.h"
#include "checkpoint/shard_index.h"
#include "checkpoint/torch_archive.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::size_t chunk_bytes = 256 << 10;  // stored elements that are converted at a time; on the stack
constexpr std::size_t gather_bytes = 64 << 20;  // largest part of a strided range that is read at once
constexpr std::uint64_t sparse_bytes_per_element =
    2048;  // bytes; above this gap, single reads are faster than reading the gap, too

constexpr std::string_view single_file = "diffusion_pytorch_model.safetensors";
constexpr std::string_view index_file = "diffusion_pytorch_model.safetensors.index.json";

void expect_floating(const TensorEntry& entry) {
  if (!is_floating(entry.dtype)) {
    fail<UsageError>("{}: tensor {} is of type {}; floating-point numbers are expected", entry.file.string(),
                     in_quotes(entry.name), to_string(entry.dtype));
  }
}

/// The coordinates of the element with a row-major number.
std::vector<std::int64_t> coordinates(const TensorEntry& entry, std::int64_t element) {
  std::vector<std::int64_t> at(entry.shape.size());
  for (std::size_t d = at.size(); d-- > 0;) {
    at[d] = element % entry.shape[d];
    element /= entry.shape[d];
  }
  return at;
}

struct Extent {
  std::uint64_t begin = 0;  ///< in stored elements, counted from the tensor's first
  std::uint64_t end = 0;    ///< one past the last
};

/// Bounds of a row-major range in the storage. They are exact in the dimensions that the whole range shares
/// and in the first dimension that varies. The later dimensions count with their whole extent.
Extent stored_extent(const TensorEntry& entry, std::int64_t first_element, std::size_t elements) {
  const auto low = coordinates(entry, first_element);
  const auto high = coordinates(entry, first_element + static_cast<std::int64_t>(elements) - 1);
  std::int64_t begin = 0;
  std::int64_t last = 0;
  bool varies = false;
  for (std::size_t d = 0; d < entry.shape.size(); ++d) {
    begin += (varies ? 0 : low[d]) * entry.stride[d];
    last += (varies ? entry.shape[d] - 1 : high[d]) * entry.stride[d];
    varies = varies || low[d] != high[d];
  }
  return {.begin = static_cast<std::uint64_t>(begin), .end = static_cast<std::uint64_t>(last) + 1};
}

/// Copies a row-major range out of `stored`, which holds the tensor's storage from element `extent.begin` on.
void gather(const TensorEntry& entry, std::int64_t first_element, const Extent& extent,
            std::span<const std::byte> stored, std::span<std::byte> out) {
  const std::size_t size = size_bytes(entry.dtype);
  std::vector<std::int64_t> at = coordinates(entry, first_element);
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < at.size(); ++d) offset += at[d] * entry.stride[d];
  for (std::size_t done = 0; done < out.size(); done += size) {
    const auto source = stored.subspan((static_cast<std::uint64_t>(offset) - extent.begin) * size, size);
    std::ranges::copy(source, out.subspan(done).begin());
    for (std::size_t d = at.size(); d-- > 0;) {  // increments the coordinates like an odometer
      offset += entry.stride[d];
      if (++at[d] < entry.shape[d]) break;
      offset -= at[d] * entry.stride[d];
      at[d] = 0;
    }
  }
}

}  // namespace

Checkpoint Checkpoint::open_safetensors_file(const std::filesystem::path& file) {
  Checkpoint checkpoint(file);
  UniqueFd fd = open_checkpoint_file(file);
  std::vector<TensorEntry> tensors = read_safetensors(fd, file);
  checkpoint.add_file(file, std::move(fd), std::move(tensors));
  return checkpoint;
}

Checkpoint Checkpoint::open_weights_file(const std::filesystem::path& file) {
  return file.extension() == ".safetensors" ? open_safetensors_file(file) : open_torch_archive(file);
}

Checkpoint Checkpoint::open_torch_archive(const std::filesystem::path& file) {
  Checkpoint checkpoint(file);
  UniqueFd fd = open_checkpoint_file(file);
  std::vector<TensorEntry> tensors = read_torch_archive(fd, file);
  checkpoint.add_file(file, std::move(fd), std::move(tensors));
  return checkpoint;
}

Checkpoint Checkpoint::open_lora_file(const std::filesystem::path& file) {
  if (file.extension() == ".safetensors") return open_safetensors_file(file);
  Checkpoint checkpoint(file);
  UniqueFd fd = open_checkpoint_file(file);
  std::vector<TensorEntry> tensors = read_torch_archive(fd, file, StateDictLevel::top_or_below);
  checkpoint.add_file(file, std::move(fd), std::move(tensors));
  return checkpoint;
}

Checkpoint Checkpoint::open_safetensors_folder(const std::filesystem::path& folder) {
  const std::filesystem::path entry_file = part_entry_file(folder);
  if (entry_file.empty()) {
    fail<UsageError>("{} has neither {} nor {}; expected one of them with the model's weights",
                     folder.string(), index_file, single_file);
  }
  if (entry_file.extension() != ".json") {
    Checkpoint checkpoint = open_safetensors_file(entry_file);
    checkpoint.source_ = folder;
    return checkpoint;
  }
  const ShardIndex index = read_shard_index(entry_file);
  Checkpoint checkpoint(folder);
  for (const std::string& shard : index.shards()) {
    const std::filesystem::path path = folder / shard;
    UniqueFd fd = open_checkpoint_file(path);
    std::vector<TensorEntry> tensors = read_safetensors(fd, path);
    index.expect_same_tensors(shard, tensors);
    checkpoint.add_file(path, std::move(fd), std::move(tensors));
  }
  return checkpoint;
}

void Checkpoint::add_file(const std::filesystem::path& path, UniqueFd file,
                          std::vector<TensorEntry>&& tensors) {
  files_.emplace(path, std::move(file));
  for (TensorEntry& tensor : tensors) {
    std::string name = tensor.name;
    const auto [at, is_new] = entries_.try_emplace(std::move(name), std::move(tensor));
    WAN_CHECK(is_new, "tensor {} is in two files", in_quotes(at->first));
  }
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> result;
  result.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) result.push_back(name);
  return result;
}

const TensorEntry& Checkpoint::entry(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    fail<UsageError>(
        "{} has no tensor {}; it contains {} tensors with other names. Does it belong to another model?",
        source_.string(), in_quotes(name), entries_.size());
  }
  return found->second;
}

void Checkpoint::read_floats(const TensorEntry& entry, std::int64_t first_element,
                             std::span<float> out) const {
  expect_floating(entry);
  check_range(entry, first_element, out.size());
  if (!entry.parts.empty()) {
    for_each_part(entry, first_element, out.size(),
                  [&](const TensorEntry& part, std::int64_t first, std::size_t before, std::size_t elements) {
                    read_floats(part, first, out.subspan(before, elements));
                  });
    return;
  }
  // no conversion is needed: read directly into the output
  if (entry.dtype == DType::f32 && is_contiguous(entry)) {
    read_file(entry, static_cast<std::uint64_t>(first_element) * sizeof(float), std::as_writable_bytes(out));
  } else {
    read_elements(entry, first_element, out.size(), [&](std::size_t first, std::span<const std::byte> bytes) {
      convert_to_float(entry.dtype, bytes, out.subspan(first, bytes.size() / size_bytes(entry.dtype)));
    });
  }
  if (entry.negated) std::ranges::transform(out, out.begin(), std::negate<>());
  if (entry.scale) apply_scale(entry, first_element, out);
}

void Checkpoint::read_bf16(const TensorEntry& entry, std::int64_t first_element,
                           std::span<std::uint16_t> out) const {
  expect_floating(entry);
  check_range(entry, first_element, out.size());
  if (!entry.parts.empty()) {
    for_each_part(entry, first_element, out.size(),
                  [&](const TensorEntry& part, std::int64_t first, std::size_t before, std::size_t elements) {
                    read_bf16(part, first, out.subspan(before, elements));
                  });
    return;
  }
  if (entry.scale) {
    std::vector<float> values(std::min(out.size(), chunk_bytes));
    for (std::size_t done = 0; done < out.size(); done += values.size()) {
      const auto part = std::span(values).first(std::min(values.size(), out.size() - done));
      read_floats(entry, first_element + static_cast<std::int64_t>(done), part);
      std::ranges::transform(part, out.subspan(done).begin(), bf16_from_float);  // exact
    }
    return;
  }
  if (entry.dtype == DType::bf16 && is_contiguous(entry)) {
    read_file(entry, static_cast<std::uint64_t>(first_element) * sizeof(std::uint16_t),
              std::as_writable_bytes(out));
  } else {
    read_elements(entry, first_element, out.size(), [&](std::size_t first, std::span<const std::byte> bytes) {
      convert_to_bf16(entry.dtype, bytes, out.subspan(first, bytes.size() / size_bytes(entry.dtype)));
    });
  }
  constexpr std::uint16_t sign = 0x8000;
  if (entry.negated) {
    std::ranges::transform(out, out.begin(),
                           [](std::uint16_t bits) { return static_cast<std::uint16_t>(bits ^ sign); });
  }
}

void Checkpoint::read_stored(const TensorEntry& entry, std::int64_t first_element,
                             std::span<std::byte> out) const {
  const std::size_t size = size_bytes(entry.dtype);
  WAN_CHECK(is_stored_plainly(entry) && out.size() % size == 0, "{} bytes of tensor {} as the file has them",
            out.size(), in_quotes(entry.name));
  check_range(entry, first_element, out.size() / size);
  read_file(entry, static_cast<std::uint64_t>(first_element) * size, out);
}

void Checkpoint::for_each_part(
    const TensorEntry& entry, std::int64_t first_element, std::size_t elements,
    const std::function<void(const TensorEntry&, std::int64_t, std::size_t, std::size_t)>& read) const {
  const std::int64_t end = first_element + static_cast<std::int64_t>(elements);
  std::int64_t part_begin = 0;
  for (const TensorEntry& part : entry.parts) {
    const std::int64_t part_end = part_begin + part.elements();
    const std::int64_t from = std::max(first_element, part_begin);
    const std::int64_t to = std::min(end, part_end);
    if (from < to) {
      read(part, from - part_begin, static_cast<std::size_t>(from - first_element),
           static_cast<std::size_t>(to - from));
    }
    part_begin = part_end;
  }
}

void Checkpoint::apply_scale(const TensorEntry& entry, std::int64_t first_element,
                             std::span<float> values) const {
  if (values.empty()) return;
  const std::int64_t scales = entry.scale->elements();
  const std::int64_t per_scale = entry.elements() / scales;
  const std::int64_t last = first_element + static_cast<std::int64_t>(values.size()) - 1;
  const std::int64_t first_scale = first_element / per_scale;
  std::vector<float> factors(static_cast<std::size_t>(last / per_scale - first_scale + 1));
  read_floats(*entry.scale, first_scale, factors);
  std::size_t done = 0;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const std::int64_t end = (first_scale + static_cast<std::int64_t>(i) + 1) * per_scale - first_element;
    for (; done < std::min(values.size(), static_cast<std::size_t>(end)); ++done)
      values[done] = float_from_bf16(bf16_from_float(values[done] * factors[i]));
  }
}

void Checkpoint::check_range(const TensorEntry& entry, std::int64_t first_element,
                             std::size_t elements) const {
  const std::int64_t available = entry.elements();
  if (first_element < 0 || first_element > available ||
      elements > static_cast<std::uint64_t>(available - first_element)) {
    fail("{}: elements {} to {} of tensor {} were requested, but its shape {} has {}", entry.file.string(),
         first_element, static_cast<std::uint64_t>(first_element) + elements, in_quotes(entry.name),
         shape_text(entry.shape), available);
  }
}

void Checkpoint::read_file(const TensorEntry& entry, std::uint64_t offset_bytes,
                           std::span<std::byte> out) const {
  const auto file = files_.find(entry.file);
  WAN_CHECK(file != files_.end(), "tensor {} is not of {}", in_quotes(entry.name), source_.string());
  const std::uint64_t offset = entry.begin_byte + offset_bytes;
  if (kept_ && kept_->get(file->second.get(), offset, out)) return;
  try {
    read_at(file->second, entry.file, offset, out);
  } catch (const Error& error) {
    fail("{}, in tensor {}", error.what(), in_quotes(entry.name));
  }
  bytes_read_->fetch_add(out.size(), std::memory_order_relaxed);
  if (kept_) kept_->put(file->second.get(), offset, out);
}

void Checkpoint::read_elements(const TensorEntry& entry, std::int64_t first_element, std::size_t elements,
                               const Sink& sink) const {
  if (elements == 0) return;
  if (is_contiguous(entry)) {
    read_contiguous(entry, first_element, elements, sink);
  } else {
    read_strided(entry, first_element, 0, elements, sink);
  }
}

void Checkpoint::read_contiguous(const TensorEntry& entry, std::int64_t first_element, std::size_t elements,
                                 const Sink& sink) const {
  const std::size_t size = size_bytes(entry.dtype);
  const std::size_t chunk_elements = std::min(elements, chunk_bytes / size);
  std::array<std::byte, chunk_bytes> chunk;  // NOLINT(cppcoreguidelines-pro-type-member-init): read into
  for (std::size_t done = 0; done < elements; done += chunk_elements) {
    const auto part = std::span(chunk).first(std::min(chunk_elements, elements - done) * size);
    read_file(entry, (static_cast<std::uint64_t>(first_element) + done) * size, part);
    sink(done, part);
  }
}

void Checkpoint::read_strided(const TensorEntry& entry, std::int64_t first_element, std::size_t out_first,
                              std::size_t elements, const Sink& sink) const {
  const std::size_t size = size_bytes(entry.dtype);
  const Extent extent = stored_extent(entry, first_element, elements);
  const std::uint64_t extent_bytes = (extent.end - extent.begin) * size;
  if (elements > 1 && (extent_bytes > gather_bytes || extent_bytes > elements * sparse_bytes_per_element)) {
    const std::size_t half = elements / 2;
    read_strided(entry, first_element, out_first, half, sink);
    read_strided(entry, first_element + static_cast<std::int64_t>(half), out_first + half, elements - half,
                 sink);
    return;
  }
  std::vector<std::byte> stored(extent_bytes);
  read_file(entry, extent.begin * size, stored);
  std::vector<std::byte> row_major(elements * size);
  gather(entry, first_element, extent, stored, row_major);
  sink(out_first, row_major);
}

namespace {

/// One kind of mismatch: how many there are, and a description of the first few.
class Findings {
 public:
  void add(std::string text) {
    if (++count_ <= shown) examples_.push_back(std::move(text));
  }

  std::string summary(std::string_view what) const {
    if (count_ == 0) return "";
    return fmt::format("\n  {} {}: {}{}", count_, what, fmt::join(examples_, "; "),
                       count_ > shown ? "; ..." : "");
  }

 private:
  static constexpr std::size_t shown = 5;
  std::size_t count_ = 0;
  std::vector<std::string> examples_;
};

}  // namespace

void expect_tensors(const Checkpoint& checkpoint, std::span<const ExpectedTensor> expected,
                    ExtraTensors extras) {
  Findings missing;
  Findings different;
  Findings extra;
  std::set<std::string_view> wanted;
  for (const ExpectedTensor& tensor : expected) {
    wanted.insert(tensor.name);
    const auto found = checkpoint.entries().find(tensor.name);
    if (found == checkpoint.entries().end()) {
      missing.add(fmt::format("{} {}", in_quotes(tensor.name), shape_text(tensor.shape)));
      continue;
    }
    const TensorEntry& entry = found->second;
    if (entry.shape != tensor.shape || !is_floating(entry.dtype)) {
      different.add(fmt::format("{} is {} of {} in {}, expected {} of a floating-point type",
                                in_quotes(tensor.name), shape_text(entry.shape), to_string(entry.dtype),
                                entry.file.filename().string(), shape_text(tensor.shape)));
    }
  }
  for (const auto& [name, entry] : checkpoint.entries()) {
    if (extras == ExtraTensors::refused && !wanted.contains(name)) {
      extra.add(fmt::format("{} {} in {}", in_quotes(name), shape_text(entry.shape),
                            entry.file.filename().string()));
    }
  }
  const std::string findings = missing.summary("missing") + different.summary("of another shape or type") +
                               extra.summary("not expected");
  if (!findings.empty()) {
    fail<UsageError>("{} does not contain the tensors of this model ({} expected, {} found):{}",
                     checkpoint.source().string(), expected.size(), checkpoint.entries().size(), findings);
  }
}

}  // namespace wan::checkpoint
