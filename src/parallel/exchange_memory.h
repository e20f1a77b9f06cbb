#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "comm/communicator.h"
#include "kernels/compute.h"

namespace wan::parallel {

/// Tensors for a group's collectives. They lie in one piece of the group's own kind of memory if it has one,
/// otherwise they are plain tensors.
class ExchangeMemory {
 public:
  /// Reserves room for tensors with these numbers of elements, in the order in which they will be taken.
  /// Collective over the group.
  ExchangeMemory(comm::Communicator& group, const std::vector<std::int64_t>& elements,
                 const kernels::Compute& compute);

  /// The next tensor, filled with zeros. Throws Error if the room is used up.
  at::Tensor take(at::IntArrayRef shape);
  /// Whether the memory is the group's own kind. Collectives are then faster if their input lies there, too.
  bool is_special() const { return memory_.defined(); }

 private:
  kernels::Compute compute_;
  at::Tensor memory_;  ///< the group's own memory, [all elements], each tensor aligned; otherwise undefined
  std::int64_t reserved_ = 0;
  std::int64_t taken_ = 0;
};

}  // namespace wan::parallel
