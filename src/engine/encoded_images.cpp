#include "engine/encoded_images.h"

namespace wan::engine {

at::Tensor EncodedImages::find_or_encode(RequestRun& run, const at::Tensor& image, int frame_num,
                                         const std::function<at::Tensor()>& encode) {
  const parallel::GroupCommunicators& team = run.setup().team;
  const bool is_one_group = team.group->size() == team.fsdp->size();
  try {
    if (is_one_group) {
      if (const at::Tensor known = known_.find(image, frame_num); known.defined()) return known;
    }
    at::Tensor made = encode();
    if (is_one_group) run.meeting().with_memory([&] { known_.keep(image, frame_num, made); });
    return made;
  } catch (const MemoryError&) {  // alike on all ranks
    known_.clear();
    throw;
  }
}

}  // namespace wan::engine
