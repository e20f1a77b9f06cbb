// The stage that encodes an image with CLIP.
#include <ATen/ATen.h>

#include "core/check.h"
#include "engine/encoded_images.h"
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
    const at::Tensor image = run.values().get("clip_image");  // fp32 [3, side, side]
    const at::Tensor features =                               // fp32 [tokens, image_dim]
        known_.find_or_encode(run, image, any_frames, [&] { return encode(run, image); });
    run.values().drop("clip_image");
    run.values().put("image_features", features);
  }

 private:
  static constexpr int any_frames = 0;  // the features do not depend on the number of frames

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
  EncodedImages known_;
};

}  // namespace

std::unique_ptr<Stage> encode_features(StageTools& tools) { return std::make_unique<EncodeFeatures>(tools); }

}  // namespace wan::engine
