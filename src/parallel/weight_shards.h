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

/// Elements of a rank's slice of a unit: the unit's elements divided by the ranks, rounded up.
std::int64_t shard_elements(const checkpoint::UnitLayout& unit, int ranks);

/// GPU memory for the slices of one model at a time, for models that take turns (the two experts).
class WeightArena {
 public:
  /// Room for slices of these units. All models that use the arena have the same units.
  WeightArena(const std::vector<checkpoint::UnitLayout>& units, int parts, const kernels::Compute& compute);

  const std::vector<at::Tensor>& slices() const { return slices_; }
  /// Copies the host's slices into the arena, in the order of the compute stream, if they are not there
  /// already.
  void bring_in(const std::vector<at::Tensor>& host_slices);

 private:
  std::vector<at::Tensor> slices_;                 ///< one for each unit
  const std::vector<at::Tensor>* held_ = nullptr;  ///< the slices whose content is in the arena
};

/// A rank's part of a model's weights: for every unit one of `parts` even slices of its flat buffer, or the
/// whole unit if there is one part. The slices lie on the compute device, or wait in page-locked host memory
/// and take turns in an arena.
class WeightShards {
 public:
  /// Reads this rank's slices, and nothing else, from `read`. If a slice is longer than the rest of its unit,
  /// it ends in zeros.
  WeightShards(std::vector<checkpoint::UnitLayout> units, const ParameterReader& read, int parts, int part,
               const kernels::Compute& compute, std::shared_ptr<WeightArena> arena = nullptr);
  WeightShards(const WeightShards&) = delete;
  WeightShards& operator=(const WeightShards&) = delete;
  WeightShards(WeightShards&&) = delete;
  WeightShards& operator=(WeightShards&&) = delete;
  ~WeightShards() = default;

  const std::vector<checkpoint::UnitLayout>& units() const { return units_; }
  const kernels::Compute& compute() const { return compute_; }
  /// Call it before a model's turn. Afterwards slice() returns its values.
  void bring_in();
  /// On the compute device: [elements of a slice of the unit].
  const at::Tensor& slice(int unit) const;
  std::int64_t bytes() const;

 private:
  std::vector<checkpoint::UnitLayout> units_;
  kernels::Compute compute_;
  std::vector<at::Tensor> slices_;  ///< one for each unit
  std::shared_ptr<WeightArena> arena_;
};

}  // namespace wan::parallel
