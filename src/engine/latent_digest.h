#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "dit/sequence_exchange.h"
#include "parallel/layout.h"

namespace wan::engine {

/// The share of some tokens in a latent's digest: the sum, modulo 2^64, of a mix of each value's bits and its
/// place. So the sum over ranks does not depend on how the tokens are divided. tokens: fp32 [tokens,
/// features], of the whole latent from `first_token` on. Returns one int64 on the tokens' device, without
/// waiting for it.
at::Tensor digest_share(const at::Tensor& tokens, std::int64_t first_token);

/// This rank's share for its tokens x, padding left out; undefined if another rank has the same tokens and
/// counts them.
at::Tensor own_digest_share(const parallel::PassCommunicators& passes, const dit::SequenceShape& shape,
                            const at::Tensor& x);

/// The digest of the latent whose ranks have these shares; -1 stands for an unknown one, and never comes.
std::int64_t latent_digest(std::span<const std::int64_t> shares);

}  // namespace wan::engine
