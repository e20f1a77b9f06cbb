// The stage that encodes an image with CLIP.
#include <ATen/ATen.h>

#include "core/check.h"
#include "engine/condition_cache.h"
#include "engine/request_run.h"
#include "engine/wan_stages.h"

namespace wan::engine {
namespace {

using Names = std::vector<std::string_view>;

class EncodeFeatures final : public Stage {
 public:
  explicit EncodeFeatures(StageTools& tools) : tools_(tools) {}
  std::string_view phase() const override { return "encode"; }
  Names takes() const override { return {"clip_image"}; }
  Names makes() const override { return {"image_features"}; }
  bool is_needed(const RequestRun& run) const override { return run.has_steps_left(); }

  void run(RequestRun& run) override {
    try {
      run_with_cache(run);
    } catch (const MemoryError&) {  // alike on all ranks
      known_.clear();
      throw;
    }
  }

 private:
  static constexpr int any_frames = 0;  // the features do not depend on the number of frames

  void run_with_cache(RequestRun& run) {
    const at::Tensor image = run.values().get("clip_image");  // fp32 [3, side, side]
    const parallel::GroupCommunicators& team = run.setup().team;
    const bool keeps = team.group->size() == team.fsdp->size();  // ranks of other groups know other images
    at::Tensor features;                                         // fp32 [tokens, image_dim]
    if (keeps) features = known_.find(image, any_frames);
    if (!features.defined()) {
      features = encode(run, image);
      if (keeps) run.meeting().with_memory([&] { known_.keep(image, any_frames, features); });
    }
    run.values().drop("clip_image");
    run.values().put("image_features", features);
  }

  at::Tensor encode(RequestRun& run, const at::Tensor& image) const {
    TeamMeeting& meeting = run.meeting();
    ImageEncoder& encoder = *tools_.networks.image;
    meeting.with_memory_and_files([&] { encoder.load(); });
    meeting.with_memory([&] { encoder.reserve(); });
    at::Tensor features;
    bool is_finite = true;
    meeting.with_memory([&] {
      features = encoder.encode(image);
      is_finite = features.isfinite().all().item<bool>();
    });
    if (!is_finite) {
      fail_item(
          "encode",
          "CLIP's features of the image hold values that are not finite; the checkpoint's CLIP file may "
          "be damaged");
    }
    return features;
  }

  StageTools& tools_;
  ConditionCache known_;  ///< of this group, alike on all its ranks
};

}  // namespace

std::unique_ptr<Stage> encode_features(StageTools& tools) { return std::make_unique<EncodeFeatures>(tools); }

}  // namespace wan::engine
