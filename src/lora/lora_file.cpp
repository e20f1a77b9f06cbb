#include "lora/lora_file.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace wan::lora {
namespace {

using Shape = std::vector<std::int64_t>;

constexpr std::string_view patch_embedding = "patch_embedding.weight";

/// Without dimensions of size 1: files store modulations with and without them.
Shape squeezed(std::span<const std::int64_t> shape) {
  Shape result;
  std::ranges::copy_if(shape, std::back_inserter(result), [](std::int64_t size) { return size != 1; });
  return result;
}

/// Rows and columns of a matrix, or of a convolution whose later dimensions are one.
std::pair<std::int64_t, std::int64_t> matrix_of(const checkpoint::TensorEntry& entry) {
  const std::int64_t rows = entry.shape.empty() ? 0 : entry.shape.front();
  return {rows, rows == 0 ? 0 : entry.elements() / rows};
}

/// kohya's scripts store an alpha that nobody gave, which is the rank, as an integer.
bool may_be_alpha(const checkpoint::TensorEntry& entry) {
  using checkpoint::DType;
  return is_floating(entry.dtype) ||
         ((entry.dtype == DType::i64 || entry.dtype == DType::i32) && checkpoint::is_stored_plainly(entry));
}

std::string describe(const checkpoint::TensorEntry& entry) {
  return fmt::format("{} {}", checkpoint::in_quotes(entry.name), checkpoint::shape_text(entry.shape));
}

void refuse_foreign(const checkpoint::Checkpoint& tensors) {
  for (const auto& [name, entry] : tensors.entries()) {
    const std::string_view kind = foreign_kind_of_lora_key(name);
    if (kind.empty()) continue;
    fail<UsageError>(
        "{}: it is {}, which is not read (tensor {}); use a LoRA of pairs (lora_down and lora_up, or "
        "lora_A and lora_B) for this model",
        tensors.source().string(), kind, checkpoint::in_quotes(name));
  }
}

/// The number behind "blocks." or "blocks_"; -1 if there is none.
std::int64_t block_in(std::string_view module) {
  constexpr std::string_view blocks = "blocks";
  if (!module.starts_with(blocks) || module.size() < blocks.size() + 2) return -1;
  std::int64_t number = 0;
  std::size_t digits = 0;
  for (const char c : module.substr(blocks.size() + 1, 6)) {
    if (c < '0' || c > '9') break;
    number = 10 * number + (c - '0');
    ++digits;
  }
  return digits == 0 ? -1 : number;
}

[[noreturn]] void fail_unknown(const checkpoint::TensorEntry& entry, const LoraKey& key,
                               std::int64_t layers) {
  const std::int64_t block = block_in(key.module);
  if (block >= layers) {
    fail<UsageError>(
        "{}: tensor {} is of block {}, and the model has {} blocks: the LoRA belongs to another model",
        entry.file.string(), checkpoint::in_quotes(entry.name), block, layers);
  }
  fail<UsageError>(
      "{}: tensor {} belongs to no tensor of the model: the LoRA is of another model, or of a dialect that "
      "is "
      "not known",
      entry.file.string(), checkpoint::in_quotes(entry.name));
}

checkpoint::Checkpoint open(const std::filesystem::path& file) {
  std::error_code unreadable;
  if (std::filesystem::is_directory(file, unreadable))
    fail<UsageError>("{} is a folder; a LoRA is a file, or a folder with one for each expert", file.string());
  return checkpoint::Checkpoint::open_lora_file(file);
}

/// Any error of reading concerns the file that the user has named.
template <typename Read>
void as_usage_error(const Read& read) {
  try {
    read();
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    fail<UsageError>("cannot read the LoRA: {}", error.what());
  }
}

}  // namespace

/// The tensors of the file for one tensor of the model.
struct LoraFile::Parts {
  const checkpoint::TensorEntry* down = nullptr;
  const checkpoint::TensorEntry* up = nullptr;
  const checkpoint::TensorEntry* alpha = nullptr;
  const checkpoint::TensorEntry* difference = nullptr;
};

LoraFile::LoraFile(const std::filesystem::path& file, const checkpoint::TransformerConfig& config)
    : tensors_(open(file)) {
  if (tensors_.entries().empty()) fail<UsageError>("{}: the file holds no tensor", file.string());
  refuse_foreign(tensors_);
  const LoraTargets targets(config);
  PartsByTensor first;
  PartsByTensor second;
  for (const auto& [name, entry] : tensors_.entries()) add_key(entry, targets, first, second);
  first_ = finish(first, targets);
  second_ = finish(second, targets);
  if (first_.empty() && second_.empty()) {
    fail<UsageError>("{}: none of its {} tensors changes the model: the LoRA belongs to another model",
                     file.string(), tensors_.entries().size());
  }
  if (skipped_ > 0) {
    notes_.push_back(
        fmt::format("{} keys of an image branch, which this model does not have, are left out ({}, ...)",
                    skipped_, checkpoint::in_quotes(first_skipped_)));
  }
}

void LoraFile::skip(const checkpoint::TensorEntry& entry) {
  if (skipped_++ == 0) first_skipped_ = entry.name;
}

void LoraFile::add_key(const checkpoint::TensorEntry& entry, const LoraTargets& targets, PartsByTensor& first,
                       PartsByTensor& second) {
  const std::optional<LoraKey> key = read_lora_key(entry.name);
  if (!key) {
    fail<UsageError>(
        "{}: tensor {} has no name of a LoRA's tensor (such as NAME.lora_down.weight or NAME.diff); is the "
        "file a "
        "whole model?",
        path().string(), checkpoint::in_quotes(entry.name));
  }
  if (dialect_.empty() && !key->spelling.empty())
    dialect_ = fmt::format("{}{}{}", key->spelling, key->prefix.empty() ? "" : ", ", key->prefix);
  const std::optional<std::string> tensor = targets.tensor_of(*key);
  if (!tensor) {
    const std::string module = targets.module_of(*key);
    if (module.empty() || !targets.may_be_absent(module)) fail_unknown(entry, *key, targets.layers());
    skip(entry);
    return;
  }
  if (key->role == LoraRole::alpha ? !may_be_alpha(entry) : !is_floating(entry.dtype)) {
    fail<UsageError>("{}: tensor {} is of type {}; floating-point numbers are expected", path().string(),
                     checkpoint::in_quotes(entry.name), to_string(entry.dtype));
  }
  Parts& parts = (key->is_second_expert ? second : first)[*tensor];
  const checkpoint::TensorEntry*& place = key->role == LoraRole::down    ? parts.down
                                          : key->role == LoraRole::up    ? parts.up
                                          : key->role == LoraRole::alpha ? parts.alpha
                                                                         : parts.difference;
  if (place != nullptr) {
    fail<UsageError>("{}: the tensors {} and {} are for the same thing, in two spellings", path().string(),
                     checkpoint::in_quotes(place->name), checkpoint::in_quotes(entry.name));
  }
  place = &entry;
}

LoraChanges LoraFile::finish(const PartsByTensor& parts, const LoraTargets& targets) {
  LoraChanges changes;
  for (const auto& [tensor, of_tensor] : parts) {
    if (const auto change = change_of(tensor, of_tensor, targets.shape(tensor)))
      changes.emplace(tensor, *change);
  }
  return changes;
}

std::optional<LoraChange> LoraFile::change_of(const std::string& tensor, const Parts& parts,
                                              std::span<const std::int64_t> shape) {
  const bool has_pair = parts.down != nullptr && parts.up != nullptr;
  if (!has_pair && (parts.down != nullptr || parts.up != nullptr)) {
    fail<UsageError>("{}: tensor {} is there without the other half of its pair: the file is incomplete",
                     path().string(),
                     checkpoint::in_quotes((parts.down != nullptr ? parts.down : parts.up)->name));
  }
  if (!has_pair && parts.alpha != nullptr && parts.difference == nullptr) {
    fail<UsageError>("{}: tensor {} is there without the pair that it scales: the file is incomplete",
                     path().string(), checkpoint::in_quotes(parts.alpha->name));
  }
  LoraChange change{.down = parts.down, .up = parts.up, .difference = parts.difference};
  if (parts.difference != nullptr && squeezed(parts.difference->shape) != squeezed(shape)) {
    const Shape& theirs = parts.difference->shape;
    const bool other_channels = tensor == patch_embedding && theirs.size() == shape.size() &&
                                theirs[0] == shape[0] && theirs[1] != shape[1];
    if (!other_channels) {
      fail<UsageError>("{}: tensor {} is a difference of {}, which is {}: the LoRA belongs to another model",
                       path().string(), describe(*parts.difference), checkpoint::in_quotes(tensor),
                       checkpoint::shape_text(shape));
    }
    notes_.push_back(
        fmt::format("the difference of {} is for {} channels and the model has {}: it is left out",
                    checkpoint::in_quotes(tensor), theirs[1], shape[1]));
    change.difference = nullptr;
  }
  if (!has_pair) return change.difference == nullptr ? std::nullopt : std::optional(change);
  const auto [rank, in] = matrix_of(*parts.down);
  const auto [out, up_rank] = matrix_of(*parts.up);
  if (rank == 0 || rank != up_rank) {
    fail<UsageError>("{}: the pair {} and {} has no common rank: the file is damaged, or the two are swapped",
                     path().string(), describe(*parts.down), describe(*parts.up));
  }
  const std::int64_t columns = shape.size() < 2 ? 0 : checkpoint::checked_elements(shape.subspan(1)).value();
  if (shape.size() < 2 || out != shape[0] || in != columns) {
    fail<UsageError>("{}: the pair {} and {} makes [{}, {}], and {} is {}: the LoRA belongs to another model",
                     path().string(), describe(*parts.down), describe(*parts.up), out, in,
                     checkpoint::in_quotes(tensor), checkpoint::shape_text(shape));
  }
  change.scale = scale_of(parts);
  return change;
}

double LoraFile::scale_of(const Parts& parts) const {
  if (parts.alpha == nullptr) return 1;
  if (parts.alpha->elements() != 1) {
    fail<UsageError>("{}: tensor {} must be one number", path().string(), describe(*parts.alpha));
  }
  const double alpha = read_alpha(*parts.alpha);
  const std::int64_t rank = matrix_of(*parts.down).first;
  return alpha == 0 ? 1 : alpha / static_cast<double>(rank);
}

double LoraFile::read_alpha(const checkpoint::TensorEntry& entry) const {
  if (is_floating(entry.dtype)) {
    float value = 0;
    read(entry, 0, std::span(&value, 1));
    return value;
  }
  std::int64_t whole = 0;
  std::int32_t narrow = 0;
  const bool is_narrow = entry.dtype == checkpoint::DType::i32;
  const auto bytes = is_narrow ? std::as_writable_bytes(std::span(&narrow, 1))
                               : std::as_writable_bytes(std::span(&whole, 1));
  as_usage_error([&] { tensors_.read_stored(entry, 0, bytes); });
  return static_cast<double>(is_narrow ? narrow : whole);
}

const LoraChanges& LoraFile::changes(Expert expert, LoraExperts experts) const {
  static const LoraChanges none;
  if (expert == Expert::high_noise && experts == LoraExperts::low_noise) return none;
  if (expert == Expert::low_noise && experts == LoraExperts::high_noise) return none;
  return expert == Expert::low_noise && names_second_expert() ? second_ : first_;
}

void LoraFile::fail_value(const checkpoint::TensorEntry& entry, float value) const {
  fail<UsageError>("{}: tensor {} holds the value {}: the file is damaged, or its training has failed",
                   path().string(), checkpoint::in_quotes(entry.name), value);
}

void LoraFile::read(const checkpoint::TensorEntry& entry, std::int64_t first, std::span<float> out) const {
  as_usage_error([&] { tensors_.read_floats(entry, first, out); });
  if (checkpoint::all_finite(checkpoint::DType::f32, std::as_bytes(out))) return;
  fail_value(entry, *std::ranges::find_if(out, [](float value) { return !std::isfinite(value); }));
}

void LoraFile::read_stored(const checkpoint::TensorEntry& entry, std::int64_t first,
                           std::span<std::byte> out) const {
  as_usage_error([&] { tensors_.read_stored(entry, first, out); });
  if (checkpoint::all_finite(entry.dtype, out)) return;
  std::vector<float> values(out.size() / checkpoint::size_bytes(entry.dtype));
  read(entry, first, values);                                  // names the value
  fail_value(entry, std::numeric_limits<float>::quiet_NaN());  // the file has changed in between
}

void LoraFile::check_values() const {
  constexpr std::int64_t at_a_time = std::int64_t{1} << 18;
  std::vector<float> values(at_a_time);
  for (const LoraChanges* changes : {&first_, &second_}) {
    for (const auto& [tensor, change] : *changes) {
      for (const checkpoint::TensorEntry* entry : {change.down, change.up, change.difference}) {
        const std::int64_t elements = entry == nullptr ? 0 : entry->elements();
        for (std::int64_t first = 0; first < elements; first += at_a_time) {
          const std::int64_t count = std::min(at_a_time, elements - first);
          read(*entry, first, std::span(values).first(static_cast<std::size_t>(count)));
        }
      }
    }
  }
}

}  // namespace wan::lora
