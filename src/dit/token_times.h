#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/normalization.h"

namespace wan::dit {

/// Which of a rank's tokens see which timestep (model.md 5.10). Tokens are ordered by frame, so those of a
/// first frame that is known come first: they see timestep 0, all others the step's.
struct TokenTimes {
  std::int64_t known_tokens = 0;  ///< of this rank

  /// The timesteps of a forward, in the order of the tokens that see them.
  std::vector<float> timesteps(float timestep) const {
    return known_tokens > 0 ? std::vector<float>{0, timestep} : std::vector<float>{timestep};
  }
};

/// A rank's tokens that see the same timestep.
struct TimedTokens {
  std::size_t time;         ///< index in TokenTimes::timesteps()
  std::int64_t first;       ///< token of the rank
  at::Tensor x;             ///< fp32 [count, dim], rows of the residual stream
  kernels::NormResult out;  ///< where their normed rows go

  /// The same tokens of another tensor [local_tokens, features].
  at::Tensor of(const at::Tensor& y) const;
};

/// Calls `norm` for the tokens of each timestep. Returns their normed rows in one tensor [local_tokens, dim]
/// of `out_type`. Where all tokens see one timestep, this is the tensor that `norm` returns. `x`: fp32
/// [local_tokens, dim].
at::Tensor norm_by_time(const TokenTimes& times, const at::Tensor& x, at::ScalarType out_type,
                        const std::function<at::Tensor(TimedTokens& tokens)>& norm);

}  // namespace wan::dit
