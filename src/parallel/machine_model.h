#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace wan::parallel {

/// What one kind of machine was measured to do: one GPU per rank, all in one node and joined by NVLink. All
/// figures are of this program in `exact` (bf16). The table in the implementation says where each comes from.
struct MachineModel {
  std::string_view name;    ///< "H200"
  std::string_view gpu;     ///< the driver's name of the GPU that was measured
  std::string_view source;  ///< the page of this repository with the measurements

  // A step.
  double linear_flop_per_s;             ///< of matrix products, sustained
  double attention_flop_per_s;          ///< of attention, with all waves full
  double elementwise_s_per_token;       ///< of all elementwise kernels of a step with two passes
  double exposed_s_per_exchanged_byte;  ///< of the bytes that a rank hands to others for attention
  double sharded_step_ratio;            ///< a step with sharded weights over one with whole weights

  // One exchange of heads, as head_chunks.h models it.
  std::int64_t multiprocessors;
  double exchange_bytes_per_s;  ///< that a rank hands to others
  double chunk_s;               ///< what one more chunk costs

  // The rest of an item.
  double vae_encode_s_per_pixel;  ///< of a frame, on one GPU
  double vae_decode_s_per_pixel;
  double vae_encode_undivided;  ///< the share of it that more GPUs do not divide (Amdahl's law)
  double vae_decode_undivided;
  double text_encode_s;            ///< of one prompt
  double h264_s_per_pixel;         ///< of a frame, on the host
  double host_to_gpu_bytes_per_s;  ///< from page-locked memory

  // Memory of a GPU.
  std::int64_t context_bytes;  ///< what the driver and the libraries take
  std::int64_t nccl_bytes;     ///< NCCL's own buffers
};

/// The machines that were measured, the one that was measured most first.
std::span<const MachineModel> known_machines();

/// The first of them. All ranks can count with it, whatever their GPUs are.
inline const MachineModel& reference_machine() { return known_machines().front(); }

/// The figures that a plan counts with, and for which GPU.
struct MachineChoice {
  MachineModel model = reference_machine();
  std::string gpu = {};  ///< the driver's name of the GPU that is planned for; empty: not known

  /// Whether the figures were measured on such a GPU.
  bool is_measured() const { return gpu == model.gpu; }
};

/// For a GPU by the driver's name of it, "NVIDIA H200": the machine measured with this GPU, or else with one
/// of the same family ("NVIDIA H100 NVL"), or else the reference. An empty name: not known.
MachineChoice choose_machine(std::string gpu);

/// "H200 (analysis/results/gpu_h200.md)", and the GPU if it is another one or not known.
std::string describe(const MachineChoice& choice);

}  // namespace wan::parallel
