#include "kernels/product_measurement.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "core/check.h"
#include "kernels/cuda/product_kernel.h"
#include "kernels/cuda/products.h"

namespace wan::kernels::cuda {
namespace {

constexpr std::size_t finalists_for_rows = 3;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double spread(const std::vector<double>& values) {
  const auto [least, most] = std::ranges::minmax_element(values);
  return (*most - *least) / median(values);
}

/// Operands for the most rows, and the times of a kernel.
class Bench {
 public:
  Bench(const ProductShape& shape, std::int64_t most_rows, const at::Device& device,
        const ProductTiming& timing)
      : shape_(shape), timing_(timing) {
    const auto options = at::TensorOptions().device(device).dtype(shape.type);
    x_ = at::randn({most_rows, shape.in}, options);
    weight_ = at::randn({shape.out, shape.in}, options) / std::sqrt(static_cast<double>(shape.in));
    if (shape.end != ProductEnd::plain) bias_ = at::randn({shape.out}, options);
    out_ = at::empty({most_rows, shape.out}, options);
  }

  void launch(const ProductKernel& kernel, std::int64_t rows, const at::Tensor& out) const {
    kernel.launch({.out = out.mutable_data_ptr(),
                   .x = x_.const_data_ptr(),
                   .weight = weight_.const_data_ptr(),
                   .bias = bias_.defined() ? bias_.const_data_ptr() : nullptr,
                   .rows = rows,
                   .x_stride = shape_.in});
  }

  /// Seconds of one product, of so many in a row. Waits for them.
  double time(const ProductKernel& kernel, std::int64_t rows, int count) const {
    constexpr double ms = 1e-3;
    at::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
    begin.record();
    for (int i = 0; i < count; ++i) launch(kernel, rows, out_);
    end.record();
    end.synchronize();
    return begin.elapsed_time(end) * ms / count;
  }

  /// The same under the load that the kernel itself makes.
  double sustained(const ProductKernel& kernel, std::int64_t rows) const {
    const double once = std::max(time(kernel, rows, 1), 1e-6);
    const auto count = [&](double seconds) { return static_cast<int>(std::ceil(seconds / once)); };
    time(kernel, rows, count(timing_.settling_s));
    return time(kernel, rows, count(timing_.timed_s));
  }

  void warm_up(const ProductKernel& kernel) const {
    const std::int64_t rows = x_.size(0);
    time(kernel, rows,
         static_cast<int>(std::ceil(timing_.warm_up_s / std::max(time(kernel, rows, 1), 1e-6))));
  }

  bool have_same_bits(const ProductKernel& a, const ProductKernel& b) const {
    const at::Tensor other = at::empty_like(out_);
    launch(a, x_.size(0), out_);
    launch(b, x_.size(0), other);
    return at::equal(out_, other);
  }

 private:
  ProductShape shape_;
  ProductTiming timing_;
  at::Tensor x_, weight_, bias_, out_;  ///< [rows, in], [out, in], [out], [rows, out]
};

/// Times of each kernel for each number of rows, from rounds in random order.
std::vector<std::vector<std::vector<double>>> times_of(const Bench& bench, const ProductKernels& kernels,
                                                       std::span<const std::int64_t> rows, int count) {
  std::vector times(kernels.size(), std::vector(rows.size(), std::vector<double>{}));
  std::vector<std::size_t> cells(kernels.size() * rows.size());
  std::iota(cells.begin(), cells.end(), std::size_t{0});
  std::mt19937 generator(1);  // NOLINT(bugprone-random-generator-seed): only the order of measurements
  for (int round = 0; round < count; ++round) {
    std::ranges::shuffle(cells, generator);
    for (const std::size_t cell : cells) {
      const std::size_t kernel = cell / rows.size(), place = cell % rows.size();
      times[kernel][place].push_back(bench.sustained(*kernels[kernel], rows[place]));
    }
  }
  return times;
}

/// Keeps the first kernel, and the fastest ones for each number of rows.
void keep_fastest(ProductKernels& kernels, const std::vector<std::vector<std::vector<double>>>& times) {
  std::vector<std::size_t> order(kernels.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::set<std::size_t> finalists{0};
  for (std::size_t place = 0; place < times.front().size(); ++place) {
    std::ranges::sort(order, {}, [&](std::size_t kernel) { return median(times[kernel][place]); });
    for (const std::size_t kernel : std::span(order).first(std::min(order.size(), finalists_for_rows))) {
      finalists.insert(kernel);
    }
  }
  ProductKernels kept;
  for (const std::size_t kernel : finalists) kept.push_back(std::move(kernels[kernel]));
  kernels = std::move(kept);
}

}  // namespace

MeasuredProduct measure_product(const ProductShape& shape, std::span<const std::int64_t> rows,
                                const at::Device& device, const ProductTiming& timing) {
  const c10::cuda::CUDAGuard guard(device);
  ProductKernels kernels = cublas_lt_kernels(shape);
  if (kernels.empty()) fail("there is no kernel for {} that takes all numbers of rows", describe(shape));
  const Bench bench(shape, std::ranges::max(rows), device, timing);
  MeasuredProduct result;
  result.shape = shape;
  result.rows.assign(rows.begin(), rows.end());
  const auto all = static_cast<std::ptrdiff_t>(kernels.size());
  std::erase_if(kernels, [&, first = kernels.front().get()](const auto& kernel) {
    return kernel.get() != first && !bench.have_same_bits(*first, *kernel);
  });
  result.other_bits = static_cast<int>(all - std::ssize(kernels));
  bench.warm_up(*kernels.front());
  keep_fastest(kernels, times_of(bench, kernels, rows, 1));
  const auto times = times_of(bench, kernels, rows, timing.rounds);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    KernelTimes& kernel =
        result.kernels.emplace_back(KernelTimes{.kernel = kernels[i]->name(), .seconds = {}});
    double widest = 0;
    for (const auto& by_round : times[i]) {
      kernel.seconds.push_back(median(by_round));
      widest = std::max(widest, spread(by_round));
    }
    result.spreads.push_back(widest);
  }
  result.best = best_kernels(result.kernels);
  return result;
}

}  // namespace wan::kernels::cuda
