#pragma once

#include <cstdint>

namespace wan {

/// An observer that also wants to know which latent each step left. An Observer may implement it, too.
class LatentDigestObserver {
 public:
  virtual ~LatentDigestObserver() = default;
  /// On the leader, before on_step() is called for the ranks of a step: a digest of the whole latent after
  /// the step, the same on any number of ranks if the latent's bits are. Never -1.
  virtual void on_latent_digest(std::int64_t digest) = 0;
};

}  // namespace wan
