// Prints times and peak memory of the autoencoder alone, on random weights on the first GPU, and what its
// kernels took.
//   vae_timing [--kernels] [--once] [FAMILY:WIDTH*HEIGHT:FRAMES:exact|fp16|bf16|fp32 ...]
// FAMILY is wan21 or wan22. Wan 2.1 encodes an image and grey frames, Wan 2.2 an image alone, as models do.
// Times: a warm-up, then the median of three, with the copy of the frames to the host. Memory: the most that
// tensors had beside the weights. --once: one call without a warm-up. --kernels: a table of the kernels of
// one more encoding and decoding.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/local.h"
#include "core/check.h"
#include "core/clock.h"
#include "engine/autoencoder.h"
#include "gpu/device.h"
#include "gpu/kernel_profile.h"
#include "gpu/memory.h"

namespace {

using namespace wan;

struct Wishes {
  bool once = false, kernels = false;
};

struct Case {
  std::string text;
  vae::VaeConfig config;
  std::int64_t width = 0, height = 0;
  int frames = 0;
  vae::Arithmetic arithmetic;
};

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1)
    fail<UsageError>("'{}' is no number", text);
  return value;
}

/// The part of `text` before `mark`; `text` keeps what follows.
std::string_view cut(std::string_view& text, char mark) {
  const std::size_t at = text.find(mark);
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return part;
}

Case parse(std::string_view text) {
  Case result;
  result.text = text;
  const std::string_view family = cut(text, ':');
  if (family != "wan21" && family != "wan22") fail<UsageError>("'{}' is neither wan21 nor wan22", family);
  result.config = family == "wan21" ? vae::VaeConfig::wan21(96) : vae::VaeConfig::wan22(160, 256);
  result.width = number(cut(text, '*'));
  result.height = number(cut(text, ':'));
  result.frames = static_cast<int>(number(cut(text, ':')));
  if (text == "fp16" || text == "bf16") {
    result.arithmetic.rounded = text == "fp16" ? at::kHalf : at::kBFloat16;
  } else if (text != "exact" && text != "fp32") {
    fail<UsageError>("'{}' is none of exact, fp16, bf16 and fp32", text);
  }
  result.arithmetic.tf32 = text != "fp32";
  return result;
}

struct Measured {
  double median_s = 0, least_s = 0, most_s = 0;
  std::int64_t peak_bytes = 0;
};

Measured measure(const std::function<void()>& work, bool once) {
  std::vector<double> times_s(once ? 1 : 3);
  if (!once) work();
  gpu::synchronize();
  const std::uint64_t before = gpu::memory_use(0).allocated_bytes;
  gpu::reset_peak(0);
  for (double& time_s : times_s) {
    const Stopwatch clock;
    work();
    gpu::synchronize();
    time_s = clock.elapsed_s();
  }
  std::ranges::sort(times_s);
  const std::uint64_t peak = gpu::memory_use(0).peak_allocated_bytes;
  gpu::release_unused();
  return {.median_s = times_s[times_s.size() / 2],
          .least_s = times_s.front(),
          .most_s = times_s.back(),
          .peak_bytes = static_cast<std::int64_t>(peak - before)};
}

void print(const char* what, const Case& c, const Measured& measured) {
  fmt::print("| {:<32} | {:<6} | {:>7.3f} | {:>7.3f} to {:>7.3f} | {:>6.2f} | {:>6} |\n", c.text, what,
             measured.median_s, measured.least_s, measured.most_s,
             static_cast<double>(measured.peak_bytes) / (1 << 30),
             measured.peak_bytes / (c.width * c.height));
  static_cast<void>(std::fflush(stdout));
}

/// Whether equal inputs give equal bits.
void print_bits(const Case& c, const std::function<at::Tensor()>& encode,
                const std::function<at::Tensor()>& decode) {
  const auto repeats = [](const std::function<at::Tensor()>& work) {
    const at::Tensor first = work().cpu().clone();
    std::int64_t differing = 0;
    for (int call = 0; call < 3; ++call) differing += work().cpu().ne(first).sum().item<std::int64_t>();
    return differing;
  };
  fmt::print("{}: of three more calls, {} values of the latent and {} of the frames differ\n", c.text,
             repeats(encode), repeats(decode));
}

void time_case(const Case& c, const Wishes& wishes) {
  const at::Device device(at::kCUDA, 0);
  const auto group = comm::make_local("vae");
  engine::Autoencoder vae(engine::synthetic_vae(c.config), device, c.arithmetic);
  const at::Tensor image = at::rand({3, c.height, c.width}) * 2 - 1;
  const std::int64_t factor = c.config.spatial_factor();
  const at::Tensor latent = at::randn(
      {c.config.latent_channels(), vae::latent_frames(c.frames), c.height / factor, c.width / factor});
  const int encoded_frames = c.config.family == vae::Family::wan21 ? c.frames : 1;
  const auto encode = [&] { vae.encode_image(image, encoded_frames, *group); };
  const auto decode = [&] { vae.decode(latent, *group, 0, [](const at::Tensor& /*frames*/) {}); };
  print("encode", c, measure(encode, wishes.once));
  print("decode", c, measure(decode, wishes.once));
  print_bits(
      c, [&] { return vae.encode_image(image, encoded_frames, *group); },
      [&] {
        std::vector<at::Tensor> frames;
        vae.decode(latent, *group, 0, [&](const at::Tensor& some) { frames.push_back(some); });
        return at::cat(frames);
      });
  if (!wishes.kernels) return;
  gpu::KernelProfile profile;
  encode();
  decode();
  const std::vector<gpu::KernelUse> uses = profile.stop();
  fmt::print("{}", uses.empty() ? "  CUPTI recorded no kernel\n"
                                : gpu::kernel_table(c.text + ", encoding and decoding", uses));
}

int run(std::vector<std::string> arguments) {
  if (at::cuda::device_count() == 0) {
    fmt::print("vae_timing: no GPU on this machine\n");
    return EXIT_FAILURE;
  }
  const Wishes wishes{.once = std::erase(arguments, "--once") > 0,
                      .kernels = std::erase(arguments, "--kernels") > 0};
  if (arguments.empty()) arguments = {"wan21:832*480:81:exact"};
  std::vector<Case> cases;
  for (const std::string& argument : arguments) cases.push_back(parse(argument));
  const c10::InferenceMode no_gradients;
  gpu::use_expandable_segments();
  fmt::print("| {:<32} | {:<6} | {:>7} | {:>18} | {:>6} | {:>6} |\n| --- | --- | --- | --- | --- | --- |\n",
             "autoencoder", "", "s", "least to most", "GiB", "B/px");
  for (const Case& c : cases) time_case(c, wishes);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    static_cast<void>(std::fprintf(stderr, "vae_timing: %s\n", error.what()));
    return EXIT_FAILURE;
  }
}
