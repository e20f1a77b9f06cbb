#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/video_geometry.h"
#include "parallel/plan.h"
#include "wan/request.h"

namespace wan::parallel {

/// A video whose times were measured with wan_bench on the reference machine's GPUs, in bf16 with guidance.
/// A test holds the plan's formulas to every row, so a new measurement is one new row.
struct MeasuredVideo {
  std::string_view task;  ///< of an official model
  int gpus = 1;
  PixelSize size;
  int frame_num = 81;
  double step_s = 0;
  std::optional<double> encode_s = {};  ///< of the autoencoder
  std::optional<double> decode_s = {};
  std::string_view source;  ///< the page of this repository with the measurement
};

std::span<const MeasuredVideo> measured_videos();

/// The line of a plan about a model in groups of `ranks`: on how many GPUs and where it was measured, or that
/// its bytes and times are computed. `task`: of the model; `transformer`: its sizes, which
/// are those of the official model or others.
std::string describe_measurements(std::string_view task, const checkpoint::TransformerConfig& transformer,
                                  int ranks);

}  // namespace wan::parallel
