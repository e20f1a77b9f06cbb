#include "parallel/outline.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>

#include "parallel/unit_weights.h"
#include "vae/vae_config.h"

namespace wan::parallel {
namespace {

constexpr std::int64_t row_axis = 1;

}  // namespace

at::Tensor outline_of(at::IntArrayRef shape, at::ScalarType type) {
  return at::empty(shape, at::TensorOptions(at::kMeta).dtype(type));
}

OutlineWeights::OutlineWeights(checkpoint::WeightSource& real, std::span<const checkpoint::UnitLayout> units,
                               at::ScalarType type, std::uint64_t done)
    : real_(real), units_(units), type_(type), calls_(done) {
  real_.settle();
}

void OutlineWeights::begin(int unit) {
  const checkpoint::UnitLayout& layout = units_[static_cast<std::size_t>(unit)];
  Begun begun{.is_real = calls_.is_owed(),
              .outline = parameter_views(layout, outline_of({layout.elements()}, type_))};
  if (begun.is_real) real_.begin(unit);
  begun_.insert_or_assign(unit, std::move(begun));
}

std::span<const at::Tensor> OutlineWeights::weights(int unit) {
  const Begun& begun = begun_.at(unit);
  if (begun.is_real) real_.weights(unit);
  return begun.outline;
}

void OutlineWeights::end(int unit) {
  if (begun_.at(unit).is_real) real_.end(unit);
  begun_.erase(unit);
}

void OutlineWeights::settle() {
  real_.settle();
  begun_.clear();
}

at::Tensor OutlineExchange::qkv_buffer(int chunk) {
  const dit::SequenceShape& own = shape();
  return outline_of({own.parts, own.local_tokens, 3, own.places_of(chunk), own.head_dim}, type_);
}

void OutlineExchange::launch_qkv(int chunk) {
  if (calls_.is_owed()) real_.launch_qkv(chunk);
}

at::Tensor OutlineExchange::wait_qkv(int chunk) {
  real_.wait_qkv(chunk);
  return qkv_buffer(chunk).flatten(0, 1);  // [padded_tokens, 3, places, head_dim]
}

at::Tensor OutlineExchange::attention_buffer(int chunk) {
  const dit::SequenceShape& own = shape();
  return outline_of({own.padded_tokens(), own.places_of(chunk), own.head_dim}, type_);
}

void OutlineExchange::launch_attention(int chunk) {
  if (calls_.is_owed()) real_.launch_attention(chunk);
}

at::Tensor OutlineExchange::wait_attention(int chunk) {
  real_.wait_attention(chunk);
  const dit::SequenceShape& own = shape();
  return outline_of({own.parts, own.local_tokens, own.places_of(chunk), own.head_dim}, type_);
}

OutlineRows::OutlineRows(vae::RowExchange& real, OwedCalls& calls, at::Device device)
    : RowExchange(real.split()), real_(real), calls_(calls), device_(device) {}

vae::Halo OutlineRows::exchange_halo(const at::Tensor& rows, std::int64_t above, std::int64_t below) {
  const auto shape_of = [&rows](std::int64_t count) {
    std::vector<std::int64_t> shape = rows.sizes().vec();  // [T, h, W, C]
    shape[row_axis] = count;
    return shape;
  };
  if (calls_.is_owed()) {
    real_.exchange_halo(at::zeros(shape_of(std::max(above, below)), rows.options().device(device_)), above,
                        below);
  }
  vae::Halo halo;
  if (split().part() > 0) halo.above = at::empty(shape_of(above), rows.options());
  if (split().part() + 1 < split().parts()) halo.below = at::empty(shape_of(below), rows.options());
  return halo;
}

at::Tensor OutlineRows::gather_rows(const at::Tensor& rows) {
  if (calls_.is_owed()) real_.gather_rows(at::zeros(rows.sizes(), rows.options().device(device_)));
  std::vector<std::int64_t> shape = rows.sizes().vec();  // [T, h, W, C]
  shape[row_axis] = split().latent_rows() * split().scale_of(rows.size(row_axis));
  return at::empty(shape, rows.options());
}

vae::Vae make_outline(const vae::VaeConfig& config, const vae::Arithmetic& arithmetic) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(config)) shapes.emplace(tensor.name, tensor.shape);
  return {config, [&shapes](const std::string& name) { return outline_of(shapes.at(name), at::kFloat); },
          arithmetic};
}

}  // namespace wan::parallel
