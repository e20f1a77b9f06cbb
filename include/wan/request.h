#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "wan/solvers.h"

namespace wan {

enum class TaskKind {
  i2v,   ///< a text and an image
  t2v,   ///< a text
  ti2v,  ///< a text, with or without an image
};
enum class NoiseDevice { cpu, cuda };

/// Width and height in pixels. For i2v only their product counts, because the aspect ratio follows the image
/// (model.md 7.2).
struct PixelSize {
  int width = 0;
  int height = 0;
  bool operator==(const PixelSize&) const = default;
};

/// Guidance scales of the two experts (model.md 7.4). The user writes LOW,HIGH. The value 1 turns the
/// unconditional pass off.
struct GuideScale {
  double low_noise = 0;
  double high_noise = 0;
  bool operator==(const GuideScale&) const = default;
};

/// The official default negative prompt (model.md 2.4), UTF-8.
std::string_view default_negative_prompt();

/// Values of a request that neither its manifest row nor the command line gives (model.md 7.5).
struct TaskDefaults {
  PixelSize size{1280, 720};
  int frame_num = 81;
  int sample_steps = 40;
  double sample_shift = 5.0;
  std::optional<double> sample_shift_480p = {};  ///< of 832*480 and 480*832, where it differs
  GuideScale guide_scale{3.5, 3.5};
  /// Fraction of the 1000 training timesteps; the high-noise expert takes t >= boundary * 1000. Empty for a
  /// model with one expert.
  std::optional<double> boundary = 0.9;
  Solver solver = Solver::unipc;
  int fps = 16;
  std::string_view negative_prompt = default_negative_prompt();

  /// The shift of a request of this size.
  double shift_of(PixelSize of) const {
    const bool is_480p = of == PixelSize{832, 480} || of == PixelSize{480, 832};
    return is_480p ? sample_shift_480p.value_or(sample_shift) : sample_shift;
  }
};

/// The task of a checkpoint. `name` is the official name, for example "i2v-A14B".
struct Task {
  TaskKind kind = TaskKind::i2v;
  std::string name;
  TaskDefaults defaults;
};

/// One video to make. Every field has its final value.
struct Request {
  std::string id;
  std::filesystem::path image;  ///< absolute or relative to the working directory; empty for t2v
  std::string prompt;
  std::string negative_prompt;
  std::uint64_t seed = 0;  ///< within the range of torch's generators
  PixelSize size;
  int frame_num = 0;  ///< number of pixel frames, 4n+1
  int sample_steps = 0;
  double sample_shift = 0;
  GuideScale guide_scale;
  std::optional<double> boundary;  ///< empty for a model with one expert
  Solver solver = Solver::unipc;
  NoiseDevice noise_device = NoiseDevice::cpu;
  int fps = 16;
  std::string codec = "libx264";
  int crf = 10;
  /// Index of the set of LoRAs that the weights are to have, among those that the engine was given. 0 of an
  /// engine without LoRAs.
  int lora_set = 0;
};

std::string_view to_string(TaskKind kind);      ///< "i2v", "t2v", "ti2v"
std::string_view to_string(NoiseDevice where);  ///< "cpu", "cuda"

}  // namespace wan
