#include "checkpoint/dialects/scales.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::string_view marker = "scaled_fp8";
constexpr std::string_view weight = ".weight";
constexpr std::array<std::string_view, 2> scale_endings{".scale_weight", ".weight_scale"};
constexpr std::array<std::string_view, 3> unused_endings{".scale_input", ".input_scale", ".comfy_quant"};

constexpr std::string_view what_would_do = "use the model's file in bf16, fp16 or fp8_scaled";

/// The name before one of the endings; empty if it has none of them.
std::string_view before(std::string_view name, std::span<const std::string_view> endings) {
  for (const std::string_view ending : endings)
    if (name.ends_with(ending)) return name.substr(0, name.size() - ending.size());
  return {};
}

/// Throws if this weight's scale does not tell its value as a product.
void check_scale(const TensorEntry& scaled, const TensorEntry& scale) {
  const auto refuse = [&](std::string_view format) {
    fail<UsageError>("{}: tensor {} is of {}, and its scale {} is {} of {}: {}, which is not read; {}",
                     scaled.file.string(), in_quotes(scaled.name), to_string(scaled.dtype),
                     in_quotes(scale.name), shape_text(scale.shape), to_string(scale.dtype), format,
                     what_would_do);
  };
  if (scaled.dtype == DType::u8) refuse("weights of 4 bits (NVFP4 or alike)");
  if (scaled.dtype == DType::i8) refuse("INT8 weights");
  if (is_fp8(scale.dtype) || scale.dtype == DType::u8) refuse("fp8 weights in blocks (MXFP8 or alike)");
  if (!is_fp8(scaled.dtype)) refuse("a scale beside weights that are not fp8");
  if (!is_floating(scale.dtype)) refuse("a scale that is no floating-point number");
  const std::int64_t scales = scale.elements();
  const bool is_of_rows = !scaled.shape.empty() && !scale.shape.empty() && scales == scaled.shape.front() &&
                          scale.shape.front() == scales;
  if (scales != 1 && !is_of_rows) refuse("fp8 weights in blocks, with more than one scale for a row");
}

void refuse_missing_scale(const TensorEntries& entries, const std::string& scaled_name, bool has_marker) {
  for (const auto& [name, entry] : entries) {
    if (!is_fp8(entry.dtype) || entry.scale != nullptr) continue;
    const std::string base = name.ends_with(weight) ? name.substr(0, name.size() - weight.size()) : name;
    fail<UsageError>(
        "{}: the fp8 tensor {} has no scale ({}.scale_weight or {}.weight_scale), but {}: the file is "
        "incomplete. Fetch it again, or use the file in bf16 or fp16",
        entry.file.string(), in_quotes(entry.name), base, base,
        scaled_name.empty() && has_marker ? "the file has the marker 'scaled_fp8'"
                                          : fmt::format("{} has one", in_quotes(scaled_name)));
  }
}

}  // namespace

TensorEntries with_scales(TensorEntries&& entries, const std::filesystem::path& where) {
  const bool has_marker = entries.erase(std::string(marker)) > 0;
  TensorEntries result;
  TensorEntries scales;
  for (auto& [name, entry] : entries) {
    if (!before(name, unused_endings).empty()) continue;
    const std::string_view scaled = before(name, scale_endings);
    if (scaled.empty()) {
      result.emplace(name, std::move(entry));
    } else {
      scales.emplace(std::string(scaled) + std::string(weight), std::move(entry));
    }
  }
  for (auto& [name, scale] : scales) {
    const auto found = result.find(name);
    if (found == result.end()) {
      fail<UsageError>("{}: there is the scale {}, but no tensor {}: the file is incomplete. Fetch it again",
                       where.string(), in_quotes(scale.name), in_quotes(name));
    }
    check_scale(found->second, scale);
    found->second.scale = std::make_shared<const TensorEntry>(std::move(scale));
  }
  if (has_marker || !scales.empty())
    refuse_missing_scale(result, scales.empty() ? std::string() : scales.begin()->first, has_marker);
  return result;
}

}  // namespace wan::checkpoint
