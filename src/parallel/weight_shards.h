#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include <memory>
#include <vector>

#include "checkpoint/weight_source.h"
#include "gpu/background_copies.h"
#include "kernels/compute.h"
#include "parallel/node_ranks.h"
#include "parallel/parameter_reader.h"

namespace wan::parallel {

/// Elements of a rank's slice of a unit: the unit's elements divided by the ranks, rounded up.
std::int64_t shard_elements(const checkpoint::UnitLayout& unit, int ranks);
/// Elements that each of several readers reads of a slice of so many elements. The pieces of several readers
/// begin at multiples of 256 elements, which collectives move faster.
std::int64_t piece_elements(std::int64_t slice_elements, int readers);

/// GPU memory for the slices of models that take turns (the two experts). Each unit holds the slice of one of
/// them; so while a model's turn ends, units that it has used already can hold the next model's.
class WeightArena {
 public:
  using HostSlices = std::vector<at::Tensor>;  ///< one for each unit; their address tells the models apart

  /// Room for slices of these units, which so many ranks read together. All models that use the arena have
  /// the same units.
  WeightArena(const std::vector<checkpoint::UnitLayout>& units, int parts, const kernels::Compute& compute,
              int readers = 1);

  const std::vector<at::Tensor>& slices() const { return slices_; }
  const std::vector<at::Tensor>& landings() const { return landings_; }  ///< where slices come in
  /// Copies a unit's slice into the arena, if it is not there or on its way already. Work that was issued
  /// before still finds the old content. On a GPU the copy runs beside the compute stream. The memory must be
  /// there.
  void bring(std::size_t unit, const HostSlices& host);
  /// Whether await() has work to do.
  bool is_coming(std::size_t unit) const { return copies_ && copies_->is_open(unit); }
  /// Work that is issued from now on finds the content that bring() last asked for.
  void await(std::size_t unit);
  /// The host's slices change or go: returns when no copy reads them any more, and takes none of them for
  /// present.
  void forget(const HostSlices& host) noexcept;
  /// Takes the memory if it was given back. Throws c10::OutOfMemoryError.
  void reserve();
  /// Gives the memory back.
  void release();
  int generation() const { return generation_; }  ///< changes with the memory

 private:
  std::vector<std::int64_t> landing_elements_;
  std::vector<std::int64_t> slice_elements_;
  at::TensorOptions options_;
  std::vector<at::Tensor> landings_;     ///< one for each unit
  std::vector<at::Tensor> slices_;       ///< views of the landings
  std::vector<const HostSlices*> held_;  ///< for each unit: where its content comes from; null: unknown
  int generation_ = 0;
  std::unique_ptr<gpu::BackgroundCopies> copies_;  ///< on a GPU; destroyed first, because it waits
};

/// A rank's part of a model's weights: for every unit one of `parts` even slices of its flat buffer, or the
/// whole unit if there is one part. The slices lie on the compute device, or wait in page-locked host memory
/// and take turns in an arena. If a slice is longer than the rest of its unit, it ends in zeros.
class WeightShards {
 public:
  /// Takes the memory. WeightLoading brings the values. Throws c10::OutOfMemoryError, Error.
  WeightShards(std::vector<checkpoint::UnitLayout> units, WeightShare share, const kernels::Compute& compute,
               std::shared_ptr<WeightArena> arena = nullptr);
  /// Takes the memory and reads this rank's slices, and nothing else, from `read`.
  WeightShards(std::vector<checkpoint::UnitLayout> units, const ParameterReader& read, int parts, int part,
               const kernels::Compute& compute, std::shared_ptr<WeightArena> arena = nullptr);
  WeightShards(const WeightShards&) = delete;
  WeightShards& operator=(const WeightShards&) = delete;
  WeightShards(WeightShards&&) = delete;
  WeightShards& operator=(WeightShards&&) = delete;
  ~WeightShards();

  const std::vector<checkpoint::UnitLayout>& units() const { return units_; }
  const kernels::Compute& compute() const { return compute_; }
  const WeightShare& share() const { return share_; }
  /// Call it before a model's turn: its units begin to come in, in order, and await() waits for one. Reserves
  /// the memory.
  void bring_in();
  /// The unit begins to come in, unless it is there. Call it once the turn of the model before has used the
  /// unit for the last time.
  void bring(int unit);
  /// Whether await() has to wait for the unit.
  bool is_coming(int unit) const;
  /// Afterwards slice() has this model's values, for work that is issued from then on.
  void await(int unit);
  /// Call it before values on the host change after a turn: the units come in anew.
  void forget() noexcept;
  /// Takes the arena's memory if it was given back. Throws c10::OutOfMemoryError.
  void reserve();
  /// After a model's turn: gives the arena's memory back. Tensors of slice() must not be held longer.
  void release();
  bool may_leave() const { return arena_ != nullptr; }  ///< whether release() gives anything back
  int generation() const { return arena_ ? arena_->generation() : 0; }  ///< changes with the slices' memory
  /// On the compute device: [elements of a slice of the unit].
  const at::Tensor& slice(int unit) const;
  std::int64_t bytes() const;
  std::int64_t bytes(const std::vector<bool>& of_units) const;

  /// Where the values of a unit's slice come in: [readers * elements of a piece]. Each reader reads one
  /// piece.
  const at::Tensor& landing(int unit) const;
  /// Whether that is the arena, which several models share: each unit must be kept before another model's
  /// comes in.
  bool lands_in_arena() const { return arena_ && share_.reader_count() > 1; }
  /// The landing holds all values of the unit: copies them to their place if that is elsewhere.
  void keep(int unit);

 private:
  std::vector<checkpoint::UnitLayout> units_;
  WeightShare share_;
  kernels::Compute compute_;
  std::vector<at::Tensor> landings_;  ///< one for each unit
  std::vector<at::Tensor> slices_;    ///< likewise; views of the landings unless these are the arena's
  std::shared_ptr<WeightArena> arena_;
};

/// Fills `out` with elements [first, first + out.numel()) of a unit's flat buffer. Elements beyond the unit's
/// end become zero.
void read_unit(const checkpoint::UnitLayout& unit, std::int64_t first, const at::Tensor& out,
               const ParameterReader& read);

}  // namespace wan::parallel
