#include "session/request_check.h"

#include "core/check.h"
#include "core/parse_value.h"
#include "core/printable.h"
#include "media/video.h"
#include "model/request_values.h"

namespace wan::session {
namespace {

constexpr const char* stage = "request";

/// The value is parsed as a manifest's would be, so that there is one set of limits.
template <typename Parse>
void check(const char* name, Parse&& parse) {
  try {
    parse();
  } catch (const ValueError& error) {
    fail_item(stage, "{}: {}", name, error.what());
  } catch (const UsageError& error) {
    fail_item(stage, "{}: {}", name, error.what());
  }
}

void check_text(const char* name, const std::string& text) {
  if (const auto bad = first_invalid_utf8(text))
    fail_item(stage, "{}: the text is not UTF-8 at byte {}", name, *bad + 1);
}

}  // namespace

void check_values(const Request& request, TaskKind task, bool on_gpu) {
  constexpr int most_fps = 240;
  constexpr int largest_crf = 51;
  check_text("prompt", request.prompt);
  check_text("negative_prompt", request.negative_prompt);
  check("size", [&] { parse_size(fmt::format("{}*{}", request.size.width, request.size.height)); });
  check("frame_num", [&] { parse_frame_num(std::to_string(request.frame_num)); });
  check("sample_steps", [&] { parse_sample_steps(std::to_string(request.sample_steps)); });
  check("sample_shift", [&] { parse_sample_shift(fmt::format("{}", request.sample_shift)); });
  check("guide_scale", [&] {
    parse_guide_scale(fmt::format("{},{}", request.guide_scale.low_noise, request.guide_scale.high_noise));
  });
  if (request.boundary) check("boundary", [&] { parse_boundary(fmt::format("{}", *request.boundary)); });
  check("fps", [&] { parse_integer(std::to_string(request.fps), 1, most_fps); });
  check("crf", [&] { parse_integer(std::to_string(request.crf), 0, largest_crf); });
  check("codec", [&] {
    media::require_video_codec(request.codec);
    media::require_video_quality(request.codec, request.crf);
  });
  if (task == TaskKind::t2v && !request.image.empty())
    fail_item(stage, "image: the checkpoint makes videos from text alone; leave it empty");
  if (request.lora_set != 0) {
    fail_item(stage, "lora_set: a session has one set of LoRAs, and its number is 0, not {}",
              request.lora_set);
  }
  if (request.noise_device == NoiseDevice::cuda && !on_gpu)
    fail_item(stage, "noise_device: cuda needs a GPU, and this session computes on the CPU; use cpu");
}

std::string describe_values(const Request& request) {
  const std::string boundary = request.boundary ? fmt::format("{}", *request.boundary) : "none";
  return fmt::format("{}\n{}\n{}\n{} {}*{} {} {} {} {},{} {} {} {} {} {} {}", request.image.string(),
                     request.prompt, request.negative_prompt, request.seed, request.size.width,
                     request.size.height, request.frame_num, request.sample_steps, request.sample_shift,
                     request.guide_scale.low_noise, request.guide_scale.high_noise, boundary,
                     to_string(request.solver), to_string(request.noise_device), request.fps, request.codec,
                     request.crf);
}

}  // namespace wan::session
