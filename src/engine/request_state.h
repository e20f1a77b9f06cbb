#pragma once

#include <filesystem>
#include <string>

#include "comm/communicator.h"
#include "engine/denoise_stage.h"

namespace wan::engine {

// A request between two steps, outside the engine's memory: in a file, or on its way to other ranks.

/// Writes the state as a safetensors file: `latent` and `history.<name>` fp32 [16, frames, height, width],
/// `steps_done` int32 [1], and `identity` uint8, the text that names what the state belongs to. Tensors are
/// on the host. Throws Error.
void write_request_state(const std::filesystem::path& path, const DenoiseState& state,
                         const std::string& identity);

/// Reads it back. Throws Error saying why if the file is damaged, belongs to something else than `identity`,
/// or holds tensors of another shape than [16, frames, height, width] = `shape`, values that are not finite,
/// or more than `step_count` steps. Files in an output folder may be anything.
DenoiseState read_request_state(const std::filesystem::path& path, const std::string& identity,
                                at::IntArrayRef shape, int step_count);

/// Brings the state of rank `root` to every rank; tensors are on the host. Collective.
void broadcast_state(comm::Communicator& group, int root, DenoiseState& state);

/// Brings a tensor of rank `root` to every rank, whatever its shape and type; undefined stays undefined.
/// Tensors are on the host. Collective.
void broadcast_tensor(comm::Communicator& group, int root, at::Tensor& tensor);

}  // namespace wan::engine
