#include "engine/autoencoder.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "parallel/outline.h"
#include "parallel/tensor_bytes.h"
#include "parallel/vae_rows.h"

namespace wan::engine {
namespace {

using parallel::OwedCalls;

/// Every part's rows of uint8 frames [frames, rows, width, 3], brought together on `root`; undefined
/// elsewhere.
at::Tensor gather_frames(comm::Communicator& group, int root, const vae::RowSplit& split,
                         const at::Tensor& own) {
  constexpr std::int64_t row_axis = 1;
  std::vector<comm::PeerTransfer> transfers;
  if (group.rank() != root) {
    transfers.push_back({.peer = root, .send = parallel::bytes_of(own), .receive = {}});
    group.exchange(transfers).wait();
    return {};
  }
  std::vector<at::Tensor> parts;
  for (int part = 0; part < split.parts(); ++part) {
    if (part == root) {
      parts.push_back(own);
      continue;
    }
    std::vector<std::int64_t> shape = own.sizes().vec();
    shape[row_axis] = split.row_count(part) * split.scale_of(own.size(row_axis));
    parts.push_back(at::empty(shape, own.options()));
    transfers.push_back({.peer = part, .send = {}, .receive = parallel::writable_bytes_of(parts.back())});
  }
  group.exchange(transfers).wait();
  return at::cat(parts, row_axis);
}

/// A video with fewer latent rows than ranks is so small that every rank works on all of it.
std::unique_ptr<vae::RowExchange> split_rows(std::int64_t latent_rows, comm::Communicator& group) {
  if (group.size() > 1 && latent_rows >= group.size())
    return std::make_unique<parallel::VaeRows>(group, latent_rows);
  return std::make_unique<vae::SinglePart>(latent_rows);
}

}  // namespace

vae::Arithmetic vae_arithmetic(const kernels::Compute& compute, std::optional<at::ScalarType> rounded) {
  return {.rounded = rounded, .tf32 = compute.on_gpu() && compute.type != at::kFloat};
}

Autoencoder::Autoencoder(const VaeModel& model, at::Device device, const vae::Arithmetic& arithmetic)
    : config_(model.config),
      device_(device),
      arithmetic_(arithmetic),
      vae_(std::make_unique<vae::Vae>(
          model.config, [&](const std::string& name) { return model.read(name).to(device); }, arithmetic)) {}

/// `work` takes an autoencoder, the exchange of its rows, where to compute, and which of the calls to make.
/// Where memory runs out it is done again as an outline, for the sake of the calls that are owed.
template <typename Work>
auto Autoencoder::run(comm::Communicator& group, vae::RowExchange& rows, Work&& work) const {
  const parallel::CallsSince calls(group, comm::Operation::exchange);
  const auto compute = [&] {
    OwedCalls all(0);
    return work(*vae_, rows, device_, all);
  };
  return parallel::work_or_owe(compute, [&] {
    if (rows.alone()) return;
    OwedCalls owed(calls.count());
    parallel::OutlineRows outline_rows(rows, owed, device_);
    work(parallel::make_outline(config_, arithmetic_), outline_rows, at::Device(at::kMeta), owed);
  });
}

at::Tensor Autoencoder::encode_image(const at::Tensor& image, int frame_num, comm::Communicator& group) {
  const auto rows = split_rows(image.size(1) / config_.spatial_factor(), group);
  return run(group, *rows,
             [&](const vae::Vae& vae, vae::RowExchange& exchange, at::Device device, OwedCalls& /*calls*/) {
               const at::Tensor own_pixels =
                   exchange.split().own_rows(image, 1).to(device);  // [3, own rows, width]
               at::Tensor own = vae.encode(vae::image_clip(own_pixels, frame_num),
                                           exchange);  // [channels, frames, own rows, columns]
               if (exchange.alone()) return own;
               return exchange.gather_rows(own.permute({1, 2, 3, 0})).permute({3, 0, 1, 2}).contiguous();
             });
}

bool Autoencoder::decode(const at::Tensor& latent, comm::Communicator& group, int root,
                         const std::function<void(const at::Tensor& frames)>& sink) {
  const auto rows = split_rows(latent.size(2), group);
  if (frames_.is_under_way()) frames_.finish();  // of a decoding that failed
  const auto give = [&](const at::Tensor& own /* uint8 [frames, own rows, width, 3] */, OwedCalls& calls) {
    if (rows->alone()) return own;
    if (!own.is_meta()) return gather_frames(group, root, rows->split(), own);
    if (calls.is_owed())
      gather_frames(group, root, rows->split(), at::zeros(own.sizes(), own.options().device(device_)));
    return at::Tensor();
  };
  const auto hand_over = [&] {
    if (frames_.is_under_way()) sink(frames_.finish());
  };
  const auto take = [&](const at::Tensor& frames /* of all rows, on the device */) {
    if (!frames.defined() || group.rank() != root) return;
    if (!frames.is_cuda()) return sink(frames);
    hand_over();
    frames_.begin(frames, frames.numel() * vae::temporal_factor);  // the first chunk has one frame
  };
  const at::Tensor is_finite =
      run(group, *rows,
          [&](const vae::Vae& vae, vae::RowExchange& exchange, at::Device device, OwedCalls& calls) {
            const at::Tensor own =
                exchange.split().own_rows(latent, 2).to(device);  // [channels, frames, own rows, width]
            return vae.decode(own, exchange, [&](const at::Tensor& chunk, std::int64_t /*first*/) {
              take(give(vae::to_uint8_frames(chunk), calls));  // [frames, rows, width, 3]
            });
          });
  hand_over();
  return is_finite.item<bool>();
}

}  // namespace wan::engine
