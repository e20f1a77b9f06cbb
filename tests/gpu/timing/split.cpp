#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "gpu/timing/table.h"
#include "kernels/attention.h"
#include "kernels/linear.h"

namespace wan::timing {

using namespace kernels;

/// Attention of a rank's heads, as they travel between the ranks that share a sequence. Each chunk has its
/// own buffers, as in an exchange. `chunk_heads`: the heads of each chunk.
std::function<void()> chunked_attention(std::int64_t tokens, const std::vector<std::int64_t>& chunk_heads) {
  std::vector<at::Tensor> chunks;   // [tokens, 3, heads of the chunk, head_dim]
  std::vector<at::Tensor> results;  // [tokens, heads of the chunk, head_dim]
  for (const std::int64_t count : chunk_heads) {
    chunks.push_back(at::randn({tokens, 3, count, head_dim}, bf16()));
    results.push_back(at::empty({tokens, count, head_dim}, bf16()));
  }
  return [chunks, results] {
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      at::Tensor out = results[i];
      attention_out(out, chunks[i].select(1, 0), chunks[i].select(1, 1), chunks[i].select(1, 2),
                    AttentionBackend::automatic);
    }
  };
}

/// The heads of one of two, four and eight GPUs, at once and in chunks, beside all heads.
void time_chunked_attention(std::int64_t tokens) {
  using Sizes = std::vector<std::int64_t>;
  const std::vector<Sizes> divisions{{heads},    {20}, {10, 10},  {1, 19},   {1, 18, 1},
                                     {2, 16, 2}, {10}, {5, 5},    {1, 8, 1}, {2, 6, 2},
                                     {3, 4, 3},  {5},  {1, 3, 1}, {2, 3}};
  std::vector<std::function<void()>> calls;
  calls.reserve(divisions.size());
  for (const Sizes& division : divisions) calls.push_back(chunked_attention(tokens, division));
  const std::vector<double> times_ms = medians_ms(calls);
  for (std::size_t i = 0; i < divisions.size(); ++i) {
    const auto of_division = std::accumulate(divisions[i].begin(), divisions[i].end(), std::int64_t{0});
    const double flop = 4.0 * static_cast<double>(tokens) * static_cast<double>(tokens) *
                        static_cast<double>(of_division * head_dim);
    print_row(fmt::format("attention, {} heads", fmt::join(divisions[i], " + ")),
              fmt::format("{} x {}", tokens, tokens), times_ms[i], flop, Bound::bf16);
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
                flop / parts, Bound::bf16);
    }
    whole_ms += product.count * times_ms[0];
    half_ms += product.count * times_ms[1];
  }
  fmt::print("a block's products in two halves of {} rows: {:.3f} ms, {:.1f} % lost\n", tokens, 2 * half_ms,
             100 * (2 * half_ms / whole_ms - 1));
}

}  // namespace wan::timing
