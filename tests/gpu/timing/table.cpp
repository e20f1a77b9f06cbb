#include "gpu/timing/table.h"

#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "core/check.h"
#include "gpu/device.h"

namespace wan::timing {
namespace {

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

/// The limits by Bound: bytes or floating-point operations a second.
using Rates = std::array<double, 4>;
const Rates unknown{NAN, NAN, NAN, NAN};

/// The rates of the datasheets, without sparsity.
Rates datasheet(std::string_view gpu) {
  if (gpu.find("H200") != std::string_view::npos) return {4.8e12, 989e12, 494e12, 67e12};
  if (gpu == "NVIDIA H100 80GB HBM3") return {3.35e12, 989e12, 494e12, 67e12};
  return unknown;
}

/// The rate of a large product, while the clock is what the power leaves it.
double sustained_product(at::ScalarType type) {
  constexpr std::int64_t side = 8192;
  constexpr int calls = 40;
  const at::TensorOptions options = at::TensorOptions(at::kCUDA).dtype(type);
  const at::Tensor a = at::randn({side, side}, options);
  const at::Tensor b = at::randn({side, side}, options);
  at::Tensor out = at::empty({side, side}, options);
  std::vector<double> times_ms;
  for (int round = 0; round < 5; ++round) {
    Event start;
    Event stop;
    start.record();
    for (int call = 0; call < calls; ++call) at::mm_out(out, a, b.t());
    stop.record();
    times_ms.push_back(stop.ms_since(start) / calls);
  }
  std::ranges::sort(times_ms);
  return 2.0 * side * side * side / times_ms[2] * 1e3;
}

/// The rate of a copy of 2 GiB: what is read and written.
double sustained_copy() {
  const at::Tensor from = at::zeros({std::int64_t{1} << 29}, at::kCUDA);
  const at::Tensor to = at::empty_like(from);
  return 2.0 * static_cast<double>(from.nbytes()) / median_ms([&] { to.copy_(from); }) * 1e3;
}

struct Limits {
  Rates peak = unknown;
  Rates sustained = unknown;
};

Limits measured_limits() {
  Limits limits{.peak = datasheet(at::cuda::getCurrentDeviceProperties()->name)};
  limits.sustained[static_cast<int>(Bound::memory)] = sustained_copy();
  limits.sustained[static_cast<int>(Bound::bf16)] = sustained_product(at::kBFloat16);
  at::globalContext().setAllowTF32CuBLAS(true);
  limits.sustained[static_cast<int>(Bound::tf32)] = sustained_product(at::kFloat);
  gpu::forbid_tf32_products();
  limits.sustained[static_cast<int>(Bound::fp32)] = limits.peak[static_cast<int>(Bound::fp32)];
  return limits;
}

const Limits& limits() {
  static const Limits measured = measured_limits();
  return measured;
}

std::string percent(double part, double whole) {
  return std::isfinite(whole) ? fmt::format("{:.0f}", 100 * part / whole) : "-";
}

std::string rate_text(double rate, Bound bound) {
  return bound == Bound::memory ? fmt::format("{:.2f} TB/s", rate / 1e12)
                                : fmt::format("{:.{}f} TFLOP/s", rate / 1e12, rate < 1e14 ? 1 : 0);
}

}  // namespace

Bound bound_of(at::ScalarType type) { return type == at::kFloat ? Bound::tf32 : Bound::bf16; }

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

void begin_table() {
  const auto line = [](const char* what, Bound bound) {
    const auto index = static_cast<std::size_t>(bound);
    fmt::print("{}: {} by the datasheet, {} measured\n", what, rate_text(limits().peak[index], bound),
               rate_text(limits().sustained[index], bound));
  };
  fmt::print("{}\n", at::cuda::getCurrentDeviceProperties()->name);
  line("memory (measured: a copy of 2 GiB)", Bound::memory);
  line("bf16 (measured: 200 products of 8192 x 8192 x 8192)", Bound::bf16);
  line("TF32 (the same)", Bound::tf32);
  fmt::print(
      "| {:<44} | {:<32} | {:>8} | {:<13} | {:>11} | {:>13} |\n| --- | --- | --- | --- | --- | --- |\n",
      "kernel", "shape", "ms", "rate", "% datasheet", "% of measured");
}

void print_row(const std::string& kernel, const std::string& shape, double ms, double amount, Bound bound) {
  const double rate = amount / ms * 1e3;
  const auto index = static_cast<std::size_t>(bound);
  fmt::print("| {:<44} | {:<32} | {:>8.3f} | {:>13} | {:>11} | {:>13} |\n", kernel, shape, ms,
             rate_text(rate, bound), percent(rate, limits().peak[index]),
             percent(rate, limits().sustained[index]));
  static_cast<void>(std::fflush(stdout));
}

void time_rows(const std::string& kernel, std::int64_t tokens, std::int64_t columns, double bytes_per_element,
               const std::function<void()>& call) {
  const double bytes = static_cast<double>(tokens) * static_cast<double>(columns) * bytes_per_element;
  print_row(kernel, fmt::format("{} x {}", tokens, columns), median_ms(call), bytes, Bound::memory);
}

}  // namespace wan::timing
