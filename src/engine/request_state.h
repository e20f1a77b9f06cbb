#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "engine/denoiser.h"
#include "engine/stage_values.h"

namespace wan::engine {

// A request between two steps, in a file or on its way to other ranks.

/// The latents after steps that are done, fp32 [channels, frames, height, width] on the host of the leader,
/// by step, counted from 0 over all clips. Empty if nobody wants them.
using StepLatents = std::map<int, at::Tensor>;

/// The name of such a latent in a file: "step.0" after the first step.
std::string step_latent_name(int step);

/// The contents of a saved request's file.
struct SavedRequest {
  DenoiseState state;   ///< of the clip under way; `steps_done` counts the steps of all clips
  StageValues carried;  ///< tensors of earlier clips that this one needs
  StepLatents step_latents;
};

/// The conditions on which a saved request can be resumed.
struct StateExpectation {
  std::string identity;
  std::vector<std::int64_t> latent_shape;  ///< [channels, frames, height, width]
  int most_steps = 0;
  std::vector<std::string> carried = {};  ///< names of the tensors that clips carry
  bool step_latents = false;              ///< whether those that the file has are wanted
};

/// Writes the state as a safetensors file: `latent` and `history.<name>` fp32 [channels, frames, height,
/// width], `clean` likewise if the state has it, `steps_done` int32 [1], `identity` uint8, the text that
/// names what the state belongs to, and the carried tensors: `carried.<name>` fp32 of any shape,
/// `leader.<name>` uint8 [frames, height, width, 3], and the latents of steps by step_latent_name(). Tensors
/// of the state are on the host. Throws Error.
void write_request_state(const std::filesystem::path& path, const SavedRequest& saved,
                         const std::string& identity);

/// Reads it back. Throws Error saying why if the file is damaged, belongs to something else, or holds tensors
/// of another shape than expected, values that are not finite, or more steps than there are. Files in an
/// output folder may be anything.
SavedRequest read_request_state(const std::filesystem::path& path, const StateExpectation& expected);

/// Sends the state of rank `root` to every rank; tensors are on the host. Collective.
void broadcast_state(comm::Communicator& group, int root, DenoiseState& state);

/// Sends a tensor of rank `root`, of any shape and type, to every rank. An undefined tensor stays undefined.
/// Tensors are on the host. Collective.
void broadcast_tensor(comm::Communicator& group, int root, at::Tensor& tensor);

}  // namespace wan::engine
