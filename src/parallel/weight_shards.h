#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "checkpoint/weight_source.h"
#include "kernels/compute.h"

namespace wan::parallel {

/// Fills `out` (one-dimensional, contiguous, on any device) with elements [first, first + out.numel()) of a
/// parameter's row-major content, rounded to out's type.
using ParameterReader =
    std::function<void(const checkpoint::Parameter&, std::int64_t first, const at::Tensor& out)>;

/// Elements of a rank's slice of a unit: the unit divided by the ranks, rounded up.
std::int64_t shard_elements(const checkpoint::UnitLayout& unit, int ranks);

/// GPU memory for the slices of one model at a time, for models that take turns (the two experts).
class WeightArena {
 public:
  /// Room for slices of these units, which all models that use the arena have alike.
  WeightArena(const std::vector<checkpoint::UnitLayout>& units, int parts, const kernels::Compute& compute);

  const std::vector<at::Tensor>& slices() const { return slices_; }
  /// Copies the host's slices in, in the order of the compute stream, unless they are there already.
  void bring_in(const std::vector<at::Tensor>& host_slices);

 private:
  std::vector<at::Tensor> slices_;                 ///< per unit
  const std::vector<at::Tensor>* held_ = nullptr;  ///< whose content is in
};

/// What one rank keeps of a model's weights: of every unit one of `parts` even slices of its flat buffer, or
/// with one part the whole. They lie where the model computes, or wait in page-locked host memory and take
/// turns in an arena.
class WeightShards {
 public:
  /// Reads this rank's slices, and nothing else, from `read`. Slices that are longer than what is left of
  /// their unit end in zeros.
  WeightShards(std::vector<checkpoint::UnitLayout> units, const ParameterReader& read, int parts, int part,
               const kernels::Compute& compute, std::shared_ptr<WeightArena> arena = nullptr);
  WeightShards(const WeightShards&) = delete;
  WeightShards& operator=(const WeightShards&) = delete;
  WeightShards(WeightShards&&) = delete;
  WeightShards& operator=(WeightShards&&) = delete;
  ~WeightShards() = default;

  const std::vector<checkpoint::UnitLayout>& units() const { return units_; }
  const kernels::Compute& compute() const { return compute_; }
  /// To be called before a model's turn: sees to it that slice() gives its values.
  void bring_in();
  /// On the compute device: [elements of a slice of the unit].
  const at::Tensor& slice(int unit) const;
  std::int64_t bytes() const;

 private:
  std::vector<checkpoint::UnitLayout> units_;
  kernels::Compute compute_;
  std::vector<at::Tensor> slices_;  ///< per unit
  std::shared_ptr<WeightArena> arena_;
};

}  // namespace wan::parallel
