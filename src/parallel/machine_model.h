#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace wan::parallel {

/// Bytes of the autoencoder's activations at their peak, for each pixel of a frame.
struct VaeBytesPerPixel {
  std::int64_t wan21_fp32;  ///< activations of 32 bits
  std::int64_t wan21_half;  ///< of 16 bits
  std::int64_t wan22_fp32;
  std::int64_t wan22_half;
};

/// Without our own kernels, which Hopper GPUs have for other precisions than fp32: windows are joined and
/// pixels are doubled in memory. The first figure was measured with cuDNN's convolutions
/// (analysis/results/gpu_h200.md, "Memory"). The widest tensors of the Wan 2.2 autoencoder have 512 channels
/// at half the resolution, where those of Wan 2.1 have 192 at the full one.
inline constexpr VaeBytesPerPixel vae_bytes_elsewhere{
    .wan21_fp32 = 30'000, .wan21_half = 15'000, .wan22_fp32 = 20'000, .wan22_half = 10'000};

/// Measured performance of one kind of machine, with one GPU per rank, all in one node and connected by
/// NVLink. All figures are of this program in bf16. The table in the implementation names the source of each.
struct MachineModel {
  std::string_view name;    ///< "H200"
  std::string_view gpu;     ///< the driver's name of the GPU that was measured
  std::string_view source;  ///< the page of this repository with the measurements

  // A step.
  double linear_flop_per_s;             ///< matrix products, sustained
  double attention_flop_per_s;          ///< attention, with all waves full
  double elementwise_s_per_token;       ///< all elementwise kernels of a step of A14B with two passes
  double exposed_s_per_exchanged_byte;  ///< for the bytes that a rank sends to others for attention
  double split_guidance_ratio;  ///< time of a step whose passes run on different ranks, divided by an equal
                                ///< share
  double sharded_step_ratio;    ///< time of a step with sharded weights, divided by that with whole weights

  // One exchange of heads, in the model of head_chunks.h.
  std::int64_t multiprocessors;
  double exchange_bytes_per_s;  ///< bytes that a rank sends to others
  double chunk_s;               ///< cost of one more chunk

  // The rest of an item.
  double vae_encode_s_per_pixel;  ///< for each pixel of all frames, on one GPU
  double vae_decode_s_per_pixel;
  double vae_encode_undivided;  ///< the share that more GPUs do not divide (Amdahl's law)
  double vae_decode_undivided;
  double text_encode_s;            ///< for one prompt
  double h264_s_per_pixel;         ///< for each pixel of all frames, on the host
  double host_to_gpu_bytes_per_s;  ///< from page-locked memory

  // Memory of a GPU.
  std::int64_t context_bytes;  ///< memory of the driver and the libraries
  std::int64_t nccl_bytes;     ///< NCCL's own buffers
  VaeBytesPerPixel vae_bytes_per_pixel;
};

/// Rates of the kernels before ours for attention and products, on H200s (analysis/results/gpu_h200.md,
/// "Speed"). H100s and four GPUs were measured with them.
inline constexpr double earlier_linear_flop_per_s = 735e12;
inline constexpr double earlier_attention_flop_per_s = 640e12;

/// The measured machines. The one that was measured most comes first.
std::span<const MachineModel> known_machines();

/// The first of them. All ranks can calculate with it, whatever their GPUs are.
inline const MachineModel& reference_machine() { return known_machines().front(); }

/// The first of them with the memory that the autoencoder needs without our own kernels.
MachineModel unknown_machine();

/// The figures with which a plan calculates, and the GPU that they are for.
struct MachineChoice {
  MachineModel model = unknown_machine();
  std::string gpu = {};  ///< the driver's name of the planned GPU; empty: unknown

  /// Whether the figures were measured on this GPU.
  bool is_measured() const { return gpu == model.gpu; }
};

/// Chooses the figures for a GPU by the driver's name, for example "NVIDIA H200". Prefers a machine that was
/// measured with this GPU, then one of the same family ("NVIDIA H100 NVL"), then
/// unknown_machine(). An empty name means an unknown GPU.
MachineChoice choose_machine(std::string gpu);

/// "H200 (analysis/results/gpu_h200.md)", and the GPU if it differs or is unknown.
std::string describe(const MachineChoice& choice);

}  // namespace wan::parallel
