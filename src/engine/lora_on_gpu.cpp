#include "engine/lora_on_gpu.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/model_parts.h"
#include "kernels/low_rank.h"
#include "lora/recent_factors.h"

namespace wan::engine {
namespace {

/// The type in which a tensor of a LoRA's file goes to the GPU: that of the file where the GPU can widen it.
at::ScalarType sent_type(const checkpoint::TensorEntry& entry) {
  if (!checkpoint::is_stored_plainly(entry)) return at::kFloat;
  return entry.dtype == checkpoint::DType::bf16  ? at::kBFloat16
         : entry.dtype == checkpoint::DType::f16 ? at::kHalf
                                                 : at::kFloat;
}

/// Reads values of a LoRA's file and sends them to a GPU, in the order of its current stream. They become
/// fp32 there.
at::Tensor send(const lora::LoraFile& file, const checkpoint::TensorEntry& entry, std::int64_t first,
                std::int64_t count, const at::Device& device) {
  const at::ScalarType type = sent_type(entry);
  const at::Tensor host =
      at::empty({count}, at::TensorOptions(type).pinned_memory(true));  // kept until it was copied
  if (type == at::kFloat) {
    file.read(entry, first, {host.data_ptr<float>(), static_cast<std::size_t>(count)});
  } else {
    file.read_stored(entry, first, {static_cast<std::byte*>(host.data_ptr()), host.nbytes()});
  }
  return host.to(device, /*non_blocking=*/true).to(at::kFloat);
}

class LoraOnGpu final : public parallel::DeviceMerge {
 public:
  LoraOnGpu(const checkpoint::Checkpoint& from, std::shared_ptr<const lora::LoraMerge> loras)
      : from_(from), loras_(std::move(loras)), read_(checkpoint_reader(from)) {}

  bool makes(const checkpoint::Parameter& parameter, const at::Device& device,
             at::ScalarType type) const override {
    const std::span<const lora::LoraMerge::Term> terms = loras_->terms(parameter.name);
    return !terms.empty() && std::ssize(terms) <= kernels::max_low_rank_shares &&
           kernels::has_add_low_rank(device, type);
  }

  at::ScalarType base_type(const checkpoint::Parameter& parameter, at::ScalarType type) const override {
    const checkpoint::TensorEntry& entry = from_.entry(parameter.name);
    const auto is_bf16 = [](const checkpoint::TensorEntry& tensor) {
      return tensor.dtype == checkpoint::DType::bf16;
    };
    const bool loses_nothing = is_bf16(entry) && std::ranges::all_of(entry.parts, is_bf16);
    return type == at::kBFloat16 && loses_nothing ? at::kBFloat16 : at::kFloat;
  }

  void prepare(const checkpoint::Parameter& parameter, const at::Device& device) const override {
    const c10::DeviceGuard guard(device);  // a new thread would use GPU 0
    for (const lora::LoraMerge::Term& term : loras_->terms(parameter.name)) {
      if (term.change.down != nullptr)
        downs_.prepare(*term.change.down, [&] { return send_down(term, device); });
    }
  }

  void read_base(const checkpoint::Parameter& parameter, std::int64_t first,
                 const at::Tensor& out) const override {
    read_(parameter, first, out);
  }

  void merge(const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& base,
             const at::Tensor& out) const override {
    // A tensor of one dimension has no pair: its values are one row.
    const std::int64_t columns =
        parameter.shape.size() < 2 ? parameter.elements() : parameter.elements() / parameter.shape.front();
    std::vector<kernels::LowRankShare> shares;
    for (const lora::LoraMerge::Term& term : loras_->terms(parameter.name)) {
      const lora::LoraChange& change = term.change;
      kernels::LowRankShare share{.factor = term.strength * change.scale, .strength = term.strength};
      if (change.down != nullptr) {
        const std::int64_t rank = change.down->shape.front();
        const at::Tensor down = downs_.get(*change.down, [&] { return send_down(term, out.device()); });
        share.down = down.view({rank, columns});
        share.first_row = first / columns;
        const std::int64_t count = (first + out.numel() - 1) / columns + 1 - share.first_row;
        share.up = send(*term.file, *change.up, share.first_row * rank, count * rank, out.device())
                       .view({count, rank});
      }
      if (change.difference != nullptr)
        share.difference = send(*term.file, *change.difference, first, out.numel(), out.device());
      shares.push_back(std::move(share));
    }
    kernels::add_low_rank(out, base, first, columns, shares);
  }

 private:
  static at::Tensor send_down(const lora::LoraMerge::Term& term, const at::Device& device) {
    const checkpoint::TensorEntry& down = *term.change.down;
    return send(*term.file, down, 0, down.elements(), device);
  }

  static constexpr std::size_t most_downs = 32;  // of the weights that the threads of a rank read

  const checkpoint::Checkpoint& from_;
  std::shared_ptr<const lora::LoraMerge> loras_;
  parallel::ParameterReader read_;
  mutable lora::RecentFactors<at::Tensor> downs_{most_downs};  ///< fp32, on the GPU
};

}  // namespace

std::shared_ptr<const parallel::DeviceMerge> lora_on_gpu(const checkpoint::Checkpoint& from,
                                                         std::shared_ptr<const lora::LoraMerge> loras) {
  return std::make_shared<const LoraOnGpu>(from, std::move(loras));
}

}  // namespace wan::engine
