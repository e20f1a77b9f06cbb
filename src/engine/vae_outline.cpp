#include "engine/vae_outline.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "vae/vae_config.h"

namespace wan::engine {
namespace {

constexpr std::int64_t row_axis = 2;

}  // namespace

vae::Vae make_outline(const vae::VaeConfig& config) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(config)) shapes.emplace(tensor.name, tensor.shape);
  return {config, [&shapes](const std::string& name) {
            return at::empty(shapes.at(name), at::TensorOptions(at::kMeta).dtype(at::kFloat));
          }};
}

OutlineRows::OutlineRows(vae::RowExchange& real, OwedCalls& calls, at::Device device)
    : RowExchange(real.split()), real_(real), calls_(calls), device_(device) {}

void OutlineRows::fill_halo(const at::Tensor& padded, std::int64_t above, std::int64_t below) {
  if (!calls_.is_owed()) return;
  std::vector<std::int64_t> shape = padded.sizes().vec();  // [C, T, above + h + below, W]
  shape[row_axis] = above + std::max(above, below) + below;
  real_.fill_halo(at::zeros(shape, padded.options().device(device_)), above, below);
}

at::Tensor OutlineRows::gather_rows(const at::Tensor& rows) {
  if (calls_.is_owed()) real_.gather_rows(at::zeros(rows.sizes(), rows.options().device(device_)));
  std::vector<std::int64_t> shape = rows.sizes().vec();  // [C, T, h, W]
  shape[row_axis] = split().latent_rows() * split().scale_of(rows.size(row_axis));
  return at::empty(shape, rows.options());
}

}  // namespace wan::engine
