// wan_batch with a fault that nothing else notices: PLANTED_FAULT is text_mask or frame_order. The demo's
// score must fall (test_meaning.py). The linker puts the functions of this file in front of the program's own
// (--wrap).
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/environment.h"
#include "engine/request_run.h"
#include "engine/wan_stages.h"
#include "media/video.h"

#define WAN_TEXTS "_ZN3wan6engine12encode_textsERNS0_10StageToolsE"
#define WAN_FRAME "_ZN3wan5media11VideoWriter11write_frameESt4spanIKhLm18446744073709551615EE"
#define WAN_FINISH "_ZN3wan5media11VideoWriter6finishEv"

namespace wan {
namespace {

using engine::RequestRun;
using engine::Stage;
using Frame = std::span<const std::uint8_t>;

bool is_planted(const char* fault) { return value_of(read_environment(), "PLANTED_FAULT") == fault; }

/// A prompt's tokens [tokens, text_dim] as a transformer sees them whose mask of 512 tokens was shuffled: it
/// sees those that the mask happens to keep.
at::Tensor behind_shuffled_mask(const at::Tensor& context) {
  constexpr std::int64_t longest = 512;
  const at::Tensor order = at::randperm(longest, at::detail::createCPUGenerator(1), at::kLong);  // [512]
  const at::Tensor kept = order.narrow(0, 0, context.size(0)).lt(context.size(0)).nonzero().flatten();
  const at::Tensor rows = kept.numel() > 0 ? kept : at::zeros({1}, at::kLong);
  return context.index_select(0, rows.to(context.device()));
}

class ShuffledMask final : public Stage {
 public:
  explicit ShuffledMask(std::unique_ptr<Stage> right) : right_(std::move(right)) {}
  std::string_view phase() const override { return right_->phase(); }
  std::vector<std::string_view> takes() const override { return right_->takes(); }
  std::vector<std::string_view> makes() const override { return right_->makes(); }
  bool is_needed(const RequestRun& run) const override { return right_->is_needed(run); }
  void run(RequestRun& run) override {
    right_->run(run);
    for (const char* name : {"context", "negative_context"}) {
      const at::Tensor context = run.values().get(name);
      if (context.defined()) run.values().put(name, behind_shuffled_mask(context));
    }
  }

 private:
  std::unique_ptr<Stage> right_;
};

/// The frames of the videos that are being written.
class HeldFrames {
 public:
  void add(const void* writer, Frame frame) {
    const std::lock_guard lock(mutex_);
    frames_[writer].emplace_back(frame.begin(), frame.end());
  }
  std::vector<std::vector<std::uint8_t>> take(const void* writer) {
    const std::lock_guard lock(mutex_);
    auto node = frames_.extract(writer);
    return node.empty() ? std::vector<std::vector<std::uint8_t>>() : std::move(node.mapped());
  }

 private:
  std::mutex mutex_;
  std::map<const void*, std::vector<std::vector<std::uint8_t>>> frames_;
};

HeldFrames& held_frames() {
  static HeldFrames frames;
  return frames;
}

}  // namespace

std::unique_ptr<Stage> real_texts(engine::StageTools& tools) __asm__("__real_" WAN_TEXTS);
std::unique_ptr<Stage> faulty_texts(engine::StageTools& tools) __asm__("__wrap_" WAN_TEXTS);
void real_frame(media::VideoWriter* writer, Frame frame) __asm__("__real_" WAN_FRAME);
void faulty_frame(media::VideoWriter* writer, Frame frame) __asm__("__wrap_" WAN_FRAME);
void real_finish(media::VideoWriter* writer) __asm__("__real_" WAN_FINISH);
void faulty_finish(media::VideoWriter* writer) __asm__("__wrap_" WAN_FINISH);

std::unique_ptr<Stage> faulty_texts(engine::StageTools& tools) {
  auto right = real_texts(tools);
  if (!is_planted("text_mask")) return right;
  return std::make_unique<ShuffledMask>(std::move(right));
}

void faulty_frame(media::VideoWriter* writer, Frame frame) {
  if (!is_planted("frame_order")) return real_frame(writer, frame);
  held_frames().add(writer, frame);
}

/// The second half of the frames comes first.
void faulty_finish(media::VideoWriter* writer) {
  const auto frames = held_frames().take(writer);
  for (std::size_t i = 0; i < frames.size(); ++i)
    real_frame(writer, frames[(i + frames.size() / 2 + 1) % frames.size()]);
  real_finish(writer);
}

}  // namespace wan
