#include "wan/request.h"

#include <array>

#include "wan/engine.h"

namespace wan {

std::string_view default_negative_prompt() {
  return "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，"
         "低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，"
         "形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走";
}

std::string_view to_string(TaskKind kind) {
  switch (kind) {
    case TaskKind::i2v:
      return "i2v";
    case TaskKind::t2v:
      return "t2v";
    case TaskKind::ti2v:
      return "ti2v";
  }
  return "?";
}

std::string_view to_string(NoiseDevice where) { return where == NoiseDevice::cpu ? "cpu" : "cuda"; }

std::string_view to_string(Part part) {
  constexpr std::array<std::string_view, part_count> names{
      "attention", "linear", "elementwise", "all_to_all", "weight_gather", "host_copy", "wait"};
  return names.at(static_cast<std::size_t>(part));
}

std::string_view to_string(Expert expert) {
  if (expert == Expert::single) return "single";
  return expert == Expert::high_noise ? "high_noise" : "low_noise";
}

}  // namespace wan
