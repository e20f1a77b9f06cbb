#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "comm/communicator.h"
#include "kernels/compute.h"

namespace wan::parallel {

/// Tensors for a group's collectives: in one piece of the group's own kind of memory where it has one, else
/// plain tensors.
class ExchangeMemory {
 public:
  /// Room for tensors of so many elements, in the order in which they will be taken. Collective over the
  /// group.
  ExchangeMemory(comm::Communicator& group, const std::vector<std::int64_t>& elements,
                 const kernels::Compute& compute);

  /// The next tensor, filled with zeros. Throws Error beyond the room there is.
  at::Tensor take(at::IntArrayRef shape);
  /// Whether it is the group's own kind: collectives are then faster if they find their input here too.
  bool is_special() const { return memory_.defined(); }

 private:
  kernels::Compute compute_;
  at::Tensor memory_;  ///< the group's own, [all elements], each tensor aligned; else undefined
  std::int64_t reserved_ = 0;
  std::int64_t taken_ = 0;
};

}  // namespace wan::parallel
