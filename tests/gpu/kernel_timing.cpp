// Times every kernel of the transformer at full size on the first GPU and prints one table.
//
//   kernel_timing [tokens ...]           (default: 32760 75600, 480p and 720p)
//   kernel_timing --attention [tokens ...]   attention only, all fast backends in turn
//   kernel_timing --split [tokens ...]   only what two GPUs that share a sequence lose: 20 heads at once and
//                                        in chunks, matrix products of all rows and of half of them
//   kernel_timing --vae                  the convolutions and norms of the Wan 2.1 autoencoder's decoder at
//                                        480p, as one chunk of latent frames has them
//
// Random data; three calls to warm up, then the median of fifteen, each between two CUDA events. GB/s counts
// the bytes that the kernel must read and write once; parameters of one row are not counted.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "core/check.h"
#include "kernels/attention.h"
#include "kernels/convolution.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"
#include "kernels/qkv.h"
#include "kernels/residual.h"

namespace wan::kernels {
namespace {

constexpr std::int64_t heads = 40;
constexpr std::int64_t head_dim = 128;
constexpr std::int64_t dim = heads * head_dim;
constexpr std::int64_t ffn_dim = 13824;
constexpr std::int64_t text_tokens = 512;
constexpr double eps = 1e-6;
constexpr int warm_up_calls = 3;
constexpr int timed_calls = 15;

void check_cuda(cudaError_t status) {
  if (status != cudaSuccess) fail("CUDA runtime: {}", cudaGetErrorString(status));
}

class Event {
 public:
  Event() { check_cuda(cudaEventCreate(&event_)); }
  ~Event() { static_cast<void>(cudaEventDestroy(event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record() { check_cuda(cudaEventRecord(event_, c10::cuda::getCurrentCUDAStream().stream())); }
  float ms_since(const Event& start) const {
    float ms = 0;
    check_cuda(cudaEventSynchronize(event_));
    check_cuda(cudaEventElapsedTime(&ms, start.event_, event_));
    return ms;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// The median time of each call, in ms. The calls take turns, because the GPU's clock varies with its
/// temperature and power.
std::vector<double> medians_ms(const std::vector<std::function<void()>>& calls) {
  std::vector<std::vector<float>> times_ms(calls.size());
  for (int round = -warm_up_calls; round < timed_calls; ++round) {
    for (std::size_t i = 0; i < calls.size(); ++i) {
      Event start;
      Event stop;
      start.record();
      calls[i]();
      stop.record();
      const float ms = stop.ms_since(start);
      if (round >= 0) times_ms[i].push_back(ms);
    }
  }
  std::vector<double> medians;
  for (std::vector<float>& times : times_ms) {
    std::ranges::nth_element(times, times.begin() + timed_calls / 2);
    medians.push_back(times[timed_calls / 2]);
  }
  return medians;
}

double median_ms(const std::function<void()>& call) { return medians_ms({call}).front(); }

void print_row(const std::string& kernel, const std::string& shape, double ms, double rate,
               const char* unit) {
  fmt::print("| {:<44} | {:<28} | {:>8.3f} | {:>7.{}f} {:<7} |\n", kernel, shape, ms, rate,
             rate < 100 ? 1 : 0, unit);
  static_cast<void>(std::fflush(stdout));
}

/// `bytes_per_element`: read and written, per element of [tokens, columns].
void time_rows(const std::string& kernel, std::int64_t tokens, std::int64_t columns, double bytes_per_element,
               const std::function<void()>& call) {
  const double ms = median_ms(call);
  const double bytes = static_cast<double>(tokens) * static_cast<double>(columns) * bytes_per_element;
  print_row(kernel, fmt::format("{} x {}", tokens, columns), ms, bytes / ms / 1e6, "GB/s");
}

at::TensorOptions bf16() { return at::TensorOptions(at::kCUDA).dtype(at::kBFloat16); }

void time_norms(std::int64_t tokens) {
  at::Tensor x = at::randn({tokens, dim}, at::kCUDA);
  const at::Tensor y = at::randn({tokens, dim}, bf16());
  const at::Tensor scale = at::randn({dim}, at::kCUDA);
  const at::Tensor shift = at::randn({dim}, at::kCUDA);
  const at::Tensor gate = at::randn({dim}, at::kCUDA) / 100;  // x grows with each call, and must stay finite
  const at::Tensor weight = at::randn({dim}, bf16());
  const at::Tensor none;
  time_rows("layer_norm_modulate", tokens, dim, 4 + 2,
            [&] { layer_norm_modulate(x, scale, shift, eps, at::kBFloat16); });
  time_rows("layer_norm_affine", tokens, dim, 4 + 2,
            [&] { layer_norm_affine(x, weight, weight, eps, at::kBFloat16); });
  time_rows("add_gated", tokens, dim, 4 + 2 + 4, [&] { add_gated(x, y, gate); });
  time_rows("add_gated_layer_norm_modulate", tokens, dim, 4 + 2 + 4 + 2, [&] {
    add_gated_layer_norm_modulate(x, {.y = y, .gate = gate}, scale, shift, eps, at::kBFloat16);
  });
  time_rows("add_gated_layer_norm_affine, no gate", tokens, dim, 4 + 2 + 4 + 2, [&] {
    add_gated_layer_norm_affine(x, {.y = y, .gate = none}, weight, weight, eps, at::kBFloat16);
  });
  time_rows("rms_norm", tokens, dim, 2 + 2, [&] { rms_norm(y, weight, eps); });
}

void time_pack(std::int64_t tokens) {
  const at::Tensor qkv = at::randn({tokens, 3 * dim}, bf16());
  const at::Tensor weight = at::randn({dim}, bf16());
  const RotaryTable table{.cos = at::randn({tokens, head_dim / 2}, at::kCUDA),
                          .sin = at::randn({tokens, head_dim / 2}, at::kCUDA)};
  const QkNorm norm{.q = weight, .k = weight, .eps = eps};
  const at::Tensor in_place = qkv.view({1, tokens, 3, heads, head_dim});
  time_rows("norm_rotate_pack in place (q and k)", tokens, 2 * dim, 2 + 2,
            [&] { norm_rotate_pack(qkv, norm, table, std::array{in_place}); });
  for (const std::int64_t chunks : {1, 5}) {
    std::vector<at::Tensor> buffers;
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      buffers.push_back(at::empty({2, tokens, 3, heads / 2 / chunks, head_dim}, bf16()));
    }
    time_rows(chunks == 1 ? "norm_rotate_pack, 2 parts, 1 chunk" : "norm_rotate_pack, 2 parts, 5 chunks",
              tokens, 3 * dim, 2 + 2, [&] { norm_rotate_pack(qkv, norm, table, buffers); });
  }
}

void time_product(const std::string& kernel, std::int64_t tokens, std::int64_t in, std::int64_t out,
                  const std::function<void(const at::Tensor&, const at::Tensor&, const at::Tensor&)>& call) {
  const at::Tensor x = at::randn({tokens, in}, bf16());
  const at::Tensor weight = at::randn({out, in}, bf16()) / 100;
  const at::Tensor bias = at::randn({out}, bf16());
  const double ms = median_ms([&] { call(x, weight, bias); });
  const double flop = 2.0 * static_cast<double>(tokens) * static_cast<double>(in) * static_cast<double>(out);
  print_row(kernel, fmt::format("{} x {} -> {}", tokens, in, out), ms, flop / ms / 1e9, "TFLOP/s");
}

void time_products(std::int64_t tokens) {
  using T = at::Tensor;
  const auto plain = [](const T& x, const T& w, const T& b) { kernels::linear(x, w, b); };
  T qkv = at::empty({tokens, 3 * dim}, bf16());
  time_product("linear_out (QKV)", tokens, dim, 3 * dim,
               [&](const T& x, const T& w, const T& b) { kernels::linear_out(qkv, x, w, b); });
  time_product("linear (out, cross q, cross out)", tokens, dim, dim, plain);
  time_product("linear (FFN up), without GELU", tokens, dim, ffn_dim, plain);
  time_product("linear (FFN up), then GELU in place", tokens, dim, ffn_dim,
               [](const T& x, const T& w, const T& b) {
                 T hidden = kernels::linear(x, w, b);
                 gelu_tanh_(hidden);
               });
  time_product("linear_gelu (FFN up)", tokens, dim, ffn_dim,
               [](const T& x, const T& w, const T& b) { kernels::linear_gelu(x, w, b); });
  time_product("linear (FFN down)", tokens, ffn_dim, dim, plain);
}

/// All backends but ATen's others, which serve toy models only: at this size they take seconds per call. The
/// backends take turns, because a warm GPU is slower.
void time_attention(std::int64_t queries, std::int64_t keys, std::int64_t own_heads) {
  const at::Tensor rows = at::randn({std::max(queries, keys), 3, own_heads, head_dim}, bf16());
  const at::Tensor q = rows.select(1, 0).narrow(0, 0, queries);
  const at::Tensor k = rows.select(1, 1).narrow(0, 0, keys);
  const at::Tensor v = rows.select(1, 2).narrow(0, 0, keys);
  std::vector<AttentionBackend> backends = available_attention_backends(at::kCUDA, at::kBFloat16, head_dim);
  std::erase(backends, parse_attention_backend("math"));
  std::erase(backends, parse_attention_backend("reference"));
  std::vector<std::function<void()>> calls;
  for (const AttentionBackend backend : backends) {
    calls.emplace_back([&, backend] { attention(q, k, v, backend); });
  }
  const std::vector<double> times_ms = medians_ms(calls);
  const double flop = 4.0 * static_cast<double>(queries) * static_cast<double>(keys) *
                      static_cast<double>(own_heads * head_dim);
  for (std::size_t i = 0; i < backends.size(); ++i) {
    print_row(fmt::format("attention, {}", to_string(backends[i])),
              fmt::format("{} x {} x {} heads", queries, keys, own_heads), times_ms[i],
              flop / times_ms[i] / 1e9, "TFLOP/s");
  }
}

void time_attentions(std::int64_t tokens) {
  for (const std::int64_t own_heads : {heads, heads / 2, heads / 4}) {
    time_attention(tokens, tokens, own_heads);
  }
  time_attention(tokens, text_tokens, heads);
}

/// The heads of one of two GPUs, at once and in chunks. Each chunk has its own buffers, as in an exchange.
void time_chunked_attention(std::int64_t tokens) {
  using Sizes = std::vector<std::int64_t>;
  const std::vector<Sizes> divisions{{20},    {10, 10},   {5, 5, 5, 5}, {3, 17},    {2, 18},
                                     {1, 19}, {3, 14, 3}, {2, 16, 2},   {2, 17, 1}, {1, 18, 1}};
  std::vector<std::function<void()>> calls;
  for (const Sizes& division : divisions) {
    std::vector<at::Tensor> chunks;   // [tokens, 3, heads of the chunk, head_dim]
    std::vector<at::Tensor> results;  // [tokens, heads of the chunk, head_dim]
    for (const std::int64_t chunk_heads : division) {
      chunks.push_back(at::randn({tokens, 3, chunk_heads, head_dim}, bf16()));
      results.push_back(at::empty({tokens, chunk_heads, head_dim}, bf16()));
    }
    calls.emplace_back([chunks, results] {
      for (std::size_t i = 0; i < chunks.size(); ++i) {
        at::Tensor out = results[i];
        attention_out(out, chunks[i].select(1, 0), chunks[i].select(1, 1), chunks[i].select(1, 2),
                      AttentionBackend::automatic);
      }
    });
  }
  const std::vector<double> times_ms = medians_ms(calls);
  const double flop = 4.0 * static_cast<double>(tokens) * static_cast<double>(tokens) * 0.5 *
                      static_cast<double>(heads * head_dim);
  for (std::size_t i = 0; i < divisions.size(); ++i) {
    print_row(fmt::format("attention, {} heads", fmt::join(divisions[i], " + ")),
              fmt::format("{} x {}", tokens, tokens), times_ms[i], flop / times_ms[i] / 1e9, "TFLOP/s");
  }
}

/// A block's matrix products for all rows and for half of them. The time of the half beyond half the time is
/// the loss.
void time_halved_products(std::int64_t tokens) {
  struct Product {
    const char* name;
    std::int64_t in, out;
    int count;  ///< in a block
    bool with_gelu;
  };
  double whole_ms = 0;
  double half_ms = 0;
  for (const Product& product :
       {Product{"QKV", dim, 3 * dim, 1, false}, Product{"out, cross q, cross out", dim, dim, 3, false},
        Product{"FFN up and GELU", dim, ffn_dim, 1, true}, Product{"FFN down", ffn_dim, dim, 1, false}}) {
    const at::Tensor weight = at::randn({product.out, product.in}, bf16()) / 100;
    const at::Tensor bias = at::randn({product.out}, bf16());
    std::vector<std::function<void()>> calls;
    for (const std::int64_t rows : {tokens, tokens / 2}) {
      const at::Tensor x = at::randn({rows, product.in}, bf16());
      calls.emplace_back([x, weight, bias, with_gelu = product.with_gelu] {
        return with_gelu ? kernels::linear_gelu(x, weight, bias) : kernels::linear(x, weight, bias);
      });
    }
    const std::vector<double> times_ms = medians_ms(calls);
    const double flop = 2.0 * static_cast<double>(product.in * product.out) * static_cast<double>(tokens);
    for (const int parts : {1, 2}) {
      const double ms = times_ms[static_cast<std::size_t>(parts - 1)];
      print_row(product.name, fmt::format("{} x {} -> {}", tokens / parts, product.in, product.out), ms,
                flop / parts / ms / 1e9, "TFLOP/s");
    }
    whole_ms += product.count * times_ms[0];
    half_ms += product.count * times_ms[1];
  }
  print_row("a block's products, twice half the rows", fmt::format("{} and {}", tokens, tokens / 2),
            2 * half_ms, 100 * (2 * half_ms / whole_ms - 1), "% lost");
}

/// A layer of the decoder: `frames` x `rows` x `columns` are its outputs.
struct VaeLayer {
  const char* name;
  std::int64_t in, out;
  std::array<std::int64_t, 3> kernel;
  std::int64_t frames, rows, columns;
  bool adds;  ///< a residual block's second convolution
};

void time_convolution(const VaeLayer& layer, at::ScalarType type) {
  const at::TensorOptions options = at::TensorOptions(at::kCUDA).dtype(type);
  const auto [time, height, width] = layer.kernel;
  const ConvolutionShape shape{
      .before = {0, height / 2, width / 2}, .after = {0, height / 2, width / 2}, .tf32 = true};
  const at::Tensor x = at::randn({layer.frames + time - 1, layer.rows, layer.columns, layer.in}, options);
  const at::Tensor weight = at::randn({layer.out, time, height, width, layer.in}, options) / 50;
  const at::Tensor bias = at::randn({layer.out}, at::kCUDA);
  const at::Tensor out = at::empty({layer.frames, layer.rows, layer.columns, layer.out}, options);
  const at::Tensor addend = layer.adds ? at::randn(out.sizes(), options) : at::Tensor();
  const double ms = median_ms([&] { convolve_out(out, x, weight, bias, shape, addend); });
  const double flop = 2.0 * static_cast<double>(out.numel()) * static_cast<double>(weight[0].numel());
  print_row(
      fmt::format("convolution {}, {}", layer.name, type == at::kFloat ? "TF32" : "fp16"),
      fmt::format("{} x {} x {}, {} -> {}", layer.frames, layer.rows, layer.columns, layer.in, layer.out), ms,
      flop / ms / 1e9, "TFLOP/s");
}

void time_pixel_norm(std::int64_t frames, std::int64_t rows, std::int64_t columns, std::int64_t channels) {
  const at::Tensor x = at::randn({frames, rows, columns, channels}, at::kCUDA);
  const at::Tensor out = at::empty_like(x);
  const at::Tensor gamma = at::randn({channels}, at::kCUDA);
  time_rows("norm and SiLU of pixels, fp32", frames * rows * columns, channels, 4 + 4,
            [&] { rms_norm_silu_out(out, x, gamma); });
}

void time_autoencoder() {
  for (const VaeLayer& layer : {VaeLayer{"3x3x3", 384, 384, {3, 3, 3}, 1, 60, 104, true},
                                VaeLayer{"3x1x1", 384, 768, {3, 1, 1}, 2, 120, 208, false},
                                VaeLayer{"3x3x3", 384, 384, {3, 3, 3}, 2, 120, 208, true},
                                VaeLayer{"3x3", 384, 192, {1, 3, 3}, 4, 240, 416, false},
                                VaeLayer{"3x3x3", 192, 192, {3, 3, 3}, 4, 240, 416, true},
                                VaeLayer{"3x3", 192, 96, {1, 3, 3}, 4, 480, 832, false},
                                VaeLayer{"3x3x3", 96, 96, {3, 3, 3}, 4, 480, 832, true},
                                VaeLayer{"3x3x3", 96, 3, {3, 3, 3}, 4, 480, 832, false}}) {
    time_convolution(layer, at::kFloat);
    time_convolution(layer, at::kHalf);
  }
  time_pixel_norm(2, 120, 208, 384);
  time_pixel_norm(4, 240, 416, 192);
  time_pixel_norm(4, 480, 832, 96);
}

int run(std::vector<std::string> arguments) {
  if (c10::cuda::device_count() == 0) {
    fmt::print("kernel_timing: no GPU on this machine\n");
    return EXIT_FAILURE;
  }
  const c10::InferenceMode no_gradients;
  const bool split_only = !arguments.empty() && arguments.front() == "--split";
  const bool vae_only = !arguments.empty() && arguments.front() == "--vae";
  const bool attention_only = !arguments.empty() && arguments.front() == "--attention";
  if (split_only || vae_only || attention_only) arguments.erase(arguments.begin());
  std::vector<std::int64_t> sizes;
  std::ranges::transform(arguments, std::back_inserter(sizes),
                         [](const std::string& argument) { return std::stoll(argument); });
  if (sizes.empty()) sizes = {32760, 75600};
  fmt::print("| {:<44} | {:<28} | {:>8} | {:<15} |\n| --- | --- | --- | --- |\n", "kernel", "shape", "ms",
             "rate");
  if (vae_only) {
    time_autoencoder();
    return EXIT_SUCCESS;
  }
  for (const std::int64_t tokens : sizes) {
    if (split_only) {
      time_chunked_attention(tokens);
      time_halved_products(tokens);
      continue;
    }
    if (attention_only) {
      time_attentions(tokens);
      continue;
    }
    time_norms(tokens);
    time_pack(tokens);
    time_products(tokens);
    time_attentions(tokens);
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace wan::kernels

int main(int argc, char** argv) {
  try {
    return wan::kernels::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    static_cast<void>(std::fprintf(stderr, "kernel_timing: %s\n", error.what()));
    return EXIT_FAILURE;
  }
}
