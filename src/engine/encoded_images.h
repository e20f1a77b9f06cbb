#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "engine/condition_cache.h"
#include "engine/request_run.h"

namespace wan::engine {

/// The encodings of the images of a group's last requests, so that equal images are encoded once. Alike on
/// all ranks of the group. A team of several groups encodes in any case, because ranks of other groups know
/// other images.
class EncodedImages {
 public:
  /// Returns what is known of an equal `image` and number of frames, or what `encode` makes of it, which is
  /// kept. `image`: fp32 [3, height, width] on the host. Collective over the team. Where memory runs out
  /// (MemoryError, on all ranks), everything is forgotten.
  at::Tensor find_or_encode(RequestRun& run, const at::Tensor& image, int frame_num,
                            const std::function<at::Tensor()>& encode);

 private:
  ConditionCache known_;
};

}  // namespace wan::engine
