#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "kernels/cpu/exponential.h"
#include "kernels/cpu/product.h"

namespace wan::kernels::cpu {
namespace {

constexpr std::int64_t block_size = 1024;

enum class Function { silu, gelu_tanh };

template <typename T>
struct Activation {
  const T* x;
  T* out;
  std::int64_t count;
  Function function;
};

template <typename T>
WAN_INLINE T sigmoid(T x) {
  return 1 / (1 + exponential(-x));
}

/// 0.5 x (1 + tanh y) is x times the sigmoid of 2 y.
template <typename T>
WAN_INLINE T gelu_tanh(T x) {
  constexpr T twice_root = static_cast<T>(1.5957691216057308);  // 2 sqrt(2 / pi)
  return x * sigmoid(twice_root * (x + static_cast<T>(0.044715) * x * x * x));
}

/// Blocks [first, end) of elements, through a buffer: elements that do not fill the last vector are computed
/// in a full one, like all others.
template <typename T, typename Isa>
WAN_INLINE void activate_blocks(const Activation<T>& job, std::int64_t first, std::int64_t end) {
  constexpr std::int64_t most_lanes = 16;
  std::array<T, block_size> values{};
  for (std::int64_t index = first; index < end; ++index) {
    const std::int64_t count = std::min(block_size, job.count - index * block_size);
    const std::int64_t padded = (count + most_lanes - 1) / most_lanes * most_lanes;
    std::copy_n(job.x + index * block_size, count, values.begin());
    if (job.function == Function::silu) {
      for (std::int64_t i = 0; i < padded; ++i) values[i] *= sigmoid(values[i]);
    } else {
      for (std::int64_t i = 0; i < padded; ++i) values[i] = gelu_tanh(values[i]);
    }
    std::copy_n(values.begin(), count, job.out + index * block_size);
  }
}

WAN_FOR_INSTRUCTION_SETS(activate_blocks,
                         (const Activation<float>& job, std::int64_t first, std::int64_t end), float,
                         (job, first, end))
WAN_FOR_INSTRUCTION_SETS(activate_blocks,
                         (const Activation<double>& job, std::int64_t first, std::int64_t end), double,
                         (job, first, end))

template <typename T>
void run(const at::Tensor& out, const at::Tensor& x, Function function) {
  const Activation<T> job{
      .x = x.const_data_ptr<T>(), .out = out.mutable_data_ptr<T>(), .count = x.numel(), .function = function};
  at::parallel_for(
      0, (job.count + block_size - 1) / block_size, 16,
      [&](std::int64_t first, std::int64_t last) { WAN_CALL_WIDEST(activate_blocks, (job, first, last)); });
}

void activate(const at::Tensor& out, const at::Tensor& x, Function function) {
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor wide = x.to(type).contiguous();
  const bool is_wide = out.scalar_type() == type && out.is_contiguous();
  const at::Tensor made = is_wide ? out : at::empty(x.sizes(), wide.options());
  type == at::kDouble ? run<double>(made, wide, function) : run<float>(made, wide, function);
  if (!made.is_same(out)) out.copy_(made);
}

}  // namespace

at::Tensor silu(const at::Tensor& x) {
  at::Tensor out = at::empty(x.sizes(), x.options());
  activate(out, x, Function::silu);
  return out;
}

void gelu_tanh_out(const at::Tensor& out, const at::Tensor& x) { activate(out, x, Function::gelu_tanh); }

}  // namespace wan::kernels::cpu
