#pragma once

#include <cstdint>

#include "model/model_kind.h"
#include "wan/request.h"

namespace wan::engine {

/// The work on a request that the ranks of a host do beside keeping its frames.
struct HostUse {
  bool computes = false;       ///< it is the compute device
  std::int64_t vae_width = 0;  ///< values per pixel in the autoencoder's last level, if it computes
};

/// The least memory in bytes that a video of that size takes on the host of the group's leader. It is the sum
/// of the frames, the latents and, where the host computes, a chunk in the decoder's last level. Weights do
/// not count.
std::int64_t least_host_bytes(const Request& request, PixelSize size, const model::ModelKind& kind,
                              const HostUse& use);

/// The most memory in bytes that a process can get here: the least of the machine's memory, the limit of its
/// control group (a container's or a job's) and `ulimit -v`.
std::int64_t host_limit_bytes();

/// Throws ItemError (stage "memory") if a video of that size takes more than `limit_bytes`.
void require_host_memory(const Request& request, PixelSize size, const model::ModelKind& kind,
                         const HostUse& use, std::int64_t limit_bytes);

}  // namespace wan::engine
