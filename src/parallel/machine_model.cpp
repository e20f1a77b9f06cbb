#include "parallel/machine_model.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace wan::parallel {
namespace {

// Videos that were measured: pixels of all frames, and tokens.
constexpr double pixels_480p = 832.0 * 480 * 81;
constexpr double tokens_480p = 32760;

/// Amdahl's law: the part of `one_s` on one GPU that remains if two GPUs take `two_s`.
constexpr double undivided(double one_s, double two_s) { return 2 * two_s / one_s - 1; }

// analysis/results/gpu_h200.md has the figures unless a comment names another source.
constexpr MachineModel h200{
    .name = "H200",
    .gpu = "NVIDIA H200",
    .source = "analysis/results/step_h200.md",
    // Chosen so that the plan gives the steps at 480p and 720p on 1 GPU.
    .linear_flop_per_s = 715e12,
    .attention_flop_per_s = 696e12,
    .elementwise_s_per_token = 0.171 / tokens_480p,
    // With the rates of the earlier kernels, the least squares of the errors for the steps on 2 and 4 GPUs at
    // 480p, on 4 at 720p (analysis/results/gpu_h200.md), and on two H100s that share a sequence
    // (analysis/results/gpu_h100x2.md, 1 + 18 + 1 heads). The first figure stands for transfers that
    // attention does not hide and kernels on fewer rows. The second one stands for ranks that wait for the
    // other pass, and for work that two passes share: 1.03 there, 1.01 in the step of two GPUs today.
    .exposed_s_per_exchanged_byte = 5.2e-12,
    .split_guidance_ratio = 1.02,
    .sharded_step_ratio = 1.406 / 1.399,
    // "Where a 480p step goes": the time that one exchange of all heads leaves exposed. The cost of one more
    // chunk, launches and handshakes, is an estimate.
    .multiprocessors = 132,
    .exchange_bytes_per_s = 240e9,
    .chunk_s = 50e-6,
    // The whole autoencoder at 480p, on 1 and 2 GPUs.
    .vae_encode_s_per_pixel = 0.212 / pixels_480p,
    .vae_decode_s_per_pixel = 0.876 / pixels_480p,
    .vae_encode_undivided = undivided(0.212, 0.157),
    .vae_decode_undivided = undivided(0.876, 0.528),
    .text_encode_s = 0.019,  // umT5-XXL on a prompt of 120 tokens
    // analysis/results/four_steps_h200.md: videos of noise, on 8 cores or more, one video at a time.
    .h264_s_per_pixel = 2.0 / (832.0 * 464 * 81),
    // An estimate: PCIe 5.0 x16 carries 32e9 * 16 * 128 / 130 / 8 = 63e9 bytes/s. Packet headers and flow
    // control leave about seven eighths of them.
    .host_to_gpu_bytes_per_s = 55e9,
    // "Memory": chosen so that the plan gives the peaks on 1, 2 and 4 GPUs.
    .context_bytes = std::int64_t{1300} << 20,
    .nccl_bytes = std::int64_t{500} << 20,
    // A little more than the most in analysis/results/vae_h200.md.
    .vae_bytes_per_pixel = {
        .wan21_fp32 = 14'500, .wan21_half = 8'200, .wan22_fp32 = 12'000, .wan22_half = 6'900}};

/// analysis/results/gpu_h100x2.md, "one GPU, 40 heads": attention and matrix products took the time of the
/// earlier kernels on an H200 to 1 %. The elementwise kernels, which wait for the slower memory, take 0.223
/// s. Autoencoder, text encoder and memory were not measured on it, so these figures are the H200's.
constexpr MachineModel make_h100() {
  MachineModel h100 = h200;
  h100.name = "H100";
  h100.gpu = "NVIDIA H100 80GB HBM3";
  h100.source = "analysis/results/gpu_h100x2.md";
  h100.linear_flop_per_s = earlier_linear_flop_per_s;
  h100.attention_flop_per_s = earlier_attention_flop_per_s;
  h100.elementwise_s_per_token = 0.223 / tokens_480p;
  return h100;
}

constexpr std::array machines{h200, make_h100()};

/// Whether a word of a GPU's name equals `word`: "NVIDIA GH200 480GB" is not an H200.
bool has_word(std::string_view name, std::string_view word) {
  while (!name.empty()) {
    const std::size_t end = name.find(' ');
    if (name.substr(0, end) == word) return true;
    name.remove_prefix(end == std::string_view::npos ? name.size() : end + 1);
  }
  return false;
}

}  // namespace

std::span<const MachineModel> known_machines() { return machines; }

MachineModel unknown_machine() {
  MachineModel machine = reference_machine();
  machine.vae_bytes_per_pixel = vae_bytes_elsewhere;
  return machine;
}

MachineChoice choose_machine(std::string gpu) {
  for (const MachineModel& machine : machines) {
    if (has_word(gpu, machine.name)) return {.model = machine, .gpu = std::move(gpu)};
  }
  return {.model = unknown_machine(), .gpu = std::move(gpu)};
}

std::string describe(const MachineChoice& choice) {
  std::string figures = fmt::format("{} ({})", choice.model.name, choice.model.source);
  if (choice.is_measured()) return figures;
  if (choice.gpu.empty()) return figures + "; the GPU is not known";
  return fmt::format("{}, the nearest that was measured; the GPU is {}", figures, choice.gpu);
}

}  // namespace wan::parallel
