#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "comm/communicator.h"

namespace wan::comm {

/// Computes values = gathered[0] op gathered[1] op ..., in this order, in device memory. gathered:
/// [ranks][count]. Equal inputs give the same bits everywhere. Sums of integers wrap around. A maximum is NaN
/// where any rank has NaN. Returns the error of the launch.
cudaError_t fold_in_rank_order(const float* gathered, float* values, std::size_t count, int ranks,
                               ReduceOp op, cudaStream_t stream);
cudaError_t fold_in_rank_order(const std::int64_t* gathered, std::int64_t* values, std::size_t count,
                               int ranks, ReduceOp op, cudaStream_t stream);

}  // namespace wan::comm
