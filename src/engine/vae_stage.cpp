#include "engine/vae_stage.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "parallel/tensor_bytes.h"
#include "parallel/vae_rows.h"

namespace wan::engine {
namespace {

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
    shape[row_axis] = split.row_count(part) * vae::spatial_factor;
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

VaeStage::VaeStage(const VaeModel& model, at::Device device)
    : device_(device), vae_(std::make_unique<vae::Vae>(model.config, [&](const std::string& name) {
        return model.read(name).to(device);
      })) {}

at::Tensor VaeStage::encode_image(const at::Tensor& image, int frame_num, comm::Communicator& group) {
  const auto rows = split_rows(image.size(1) / vae::spatial_factor, group);
  const at::Tensor own_pixels = rows->split().own_rows(image, 1).to(device_);  // [3, own rows, width]
  const at::Tensor own =
      vae_->encode(vae::image_clip(own_pixels, frame_num), *rows);  // [16, frames, own rows, width / 8]
  return rows->alone() ? own : rows->gather_rows(own);
}

void VaeStage::decode(const at::Tensor& latent, comm::Communicator& group, int root,
                      const std::function<void(const at::Tensor& frames)>& sink) {
  const auto rows = split_rows(latent.size(2), group);
  const at::Tensor own = rows->split().own_rows(latent, 2).to(device_);  // [16, frames, own rows, width]
  vae_->decode(own, *rows, [&](const at::Tensor& chunk, std::int64_t /*first*/) {
    const at::Tensor own_frames = vae::to_uint8_frames(chunk);  // [frames, own rows, width, 3]
    const at::Tensor frames =
        rows->alone() ? own_frames : gather_frames(group, root, rows->split(), own_frames);
    if (group.rank() == root) sink(frames.cpu());
  });
}

}  // namespace wan::engine
