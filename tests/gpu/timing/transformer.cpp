#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <vector>

#include "gpu/timing/table.h"
#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/low_rank.h"
#include "kernels/normalization.h"
#include "kernels/qkv.h"
#include "kernels/residual.h"

namespace wan::timing {
namespace {

using namespace kernels;

constexpr std::int64_t text_tokens = 512;
constexpr double eps = 1e-6;

void time_product(const std::string& kernel, std::int64_t tokens, std::int64_t in, std::int64_t out,
                  const std::function<void(const at::Tensor&, const at::Tensor&, const at::Tensor&)>& call) {
  const at::Tensor x = at::randn({tokens, in}, bf16());
  const at::Tensor weight = at::randn({out, in}, bf16()) / 100;
  const at::Tensor bias = at::randn({out}, bf16());
  const double ms = median_ms([&] { call(x, weight, bias); });
  const double flop = 2.0 * static_cast<double>(tokens) * static_cast<double>(in) * static_cast<double>(out);
  print_row(kernel, fmt::format("{} x {} -> {}", tokens, in, out), ms, flop, Bound::bf16);
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
              fmt::format("{} x {} x {} heads", queries, keys, own_heads), times_ms[i], flop, Bound::bf16);
  }
}

}  // namespace

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

void time_attentions(std::int64_t tokens) {
  for (const std::int64_t own_heads : {heads, heads / 2, heads / 4}) {
    time_attention(tokens, tokens, own_heads);
  }
  time_attention(tokens, text_tokens, heads);
}

/// A LoRA of rank 64 in a weight of each shape of the 14B models.
void time_low_rank() {
  constexpr std::int64_t rank = 64;
  for (const auto& [rows, columns] :
       {std::array{dim, dim}, std::array{ffn_dim, dim}, std::array{dim, ffn_dim}}) {
    const at::Tensor base = at::randn({rows * columns}, bf16());
    const LowRankShare share{.up = at::randn({rows, rank}, at::kCUDA),
                             .down = at::randn({rank, columns}, at::kCUDA)};
    const double flop = 2.0 * static_cast<double>(rows * columns) * rank;
    print_row("add_low_rank, rank 64", fmt::format("{} x {}", rows, columns),
              median_ms([&, width = columns] { add_low_rank(base, base, 0, width, std::array{share}); }),
              flop, Bound::fp32);
  }
}

}  // namespace wan::timing
