#include "engine/lora_on_gpu.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/model_parts.h"
#include "kernels/low_rank.h"

namespace wan::engine {
namespace {

/// Reads values of a LoRA's file and sends them to a GPU, in the order of its current stream.
at::Tensor send(const lora::LoraFile& file, const checkpoint::TensorEntry& entry, std::int64_t first,
                std::int64_t count, const at::Device& device) {
  const at::Tensor host =
      at::empty({count}, at::TensorOptions(at::kFloat).pinned_memory(true));  // kept until it was copied
  file.read(entry, first, {host.data_ptr<float>(), static_cast<std::size_t>(count)});
  return host.to(device, /*non_blocking=*/true);
}

/// The factors that were sent last, so that the threads that read pieces of one weight share them.
class SentFactors {
 public:
  explicit SentFactors(std::size_t most) : most_(most) {}

  /// A whole tensor of the file, on the GPU.
  at::Tensor get(const lora::LoraFile& file, const checkpoint::TensorEntry& entry, const at::Device& device) {
    const std::shared_ptr<Slot> slot = find(entry);
    const std::scoped_lock lock(slot->mutex);
    if (!slot->values.defined())
      slot->values = send(file, entry, 0, entry.elements(), device).view(entry.shape);
    return slot->values;
  }

 private:
  struct Slot {
    const checkpoint::TensorEntry* entry = nullptr;
    std::mutex mutex;
    at::Tensor values;
  };

  std::shared_ptr<Slot> find(const checkpoint::TensorEntry& entry) {
    const std::scoped_lock lock(mutex_);
    const auto found = std::ranges::find_if(slots_, [&](const auto& slot) { return slot->entry == &entry; });
    if (found != slots_.end()) return *found;
    slots_.push_back(std::make_shared<Slot>());
    slots_.back()->entry = &entry;
    std::shared_ptr<Slot> added = slots_.back();
    if (slots_.size() > most_) slots_.pop_front();
    return added;
  }

  std::size_t most_;
  std::mutex mutex_;
  std::deque<std::shared_ptr<Slot>> slots_;
};

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

  void read_base(const checkpoint::Parameter& parameter, std::int64_t first,
                 const at::Tensor& out) const override {
    read_(parameter, first, out);
  }

  void merge(const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& base,
             const at::Tensor& out) const override {
    std::vector<kernels::LowRankShare> shares;
    for (const lora::LoraMerge::Term& term : loras_->terms(parameter.name)) {
      const lora::LoraChange& change = term.change;
      kernels::LowRankShare share{.factor = term.strength * change.scale, .strength = term.strength};
      if (change.down != nullptr) {
        share.up = factors_.get(*term.file, *change.up, out.device()).flatten(1);      // [rows, rank]
        share.down = factors_.get(*term.file, *change.down, out.device()).flatten(1);  // [rank, columns]
      }
      if (change.difference != nullptr)
        share.difference = send(*term.file, *change.difference, first, out.numel(), out.device());
      shares.push_back(std::move(share));
    }
    // A tensor of one dimension has no pair: its values are one row.
    const std::int64_t rows = parameter.shape.size() < 2 ? 1 : parameter.shape.front();
    kernels::add_low_rank(out, base, first, parameter.elements() / rows, shares);
  }

 private:
  static constexpr std::size_t most_factors = 32;  // of the weights that the threads of a rank read

  const checkpoint::Checkpoint& from_;
  std::shared_ptr<const lora::LoraMerge> loras_;
  parallel::ParameterReader read_;
  mutable SentFactors factors_{most_factors};
};

}  // namespace

std::shared_ptr<const parallel::DeviceMerge> lora_on_gpu(const checkpoint::Checkpoint& from,
                                                         std::shared_ptr<const lora::LoraMerge> loras) {
  return std::make_shared<const LoraOnGpu>(from, std::move(loras));
}

}  // namespace wan::engine
