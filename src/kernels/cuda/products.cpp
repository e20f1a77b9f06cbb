#include "kernels/cuda/products.h"

#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "core/check.h"
#include "core/environment.h"
#include "kernels/cuda/arguments.h"
#include "kernels/cuda/product_kernel.h"

namespace wan::kernels::cuda {
namespace {

constexpr std::int64_t side_multiple = 8;  // 16 bytes

bool on_hopper(const at::Device& device) {
  const cudaDeviceProp* properties = at::cuda::getDeviceProperties(device.index());
  return properties->major == 9 && properties->minor == 0;
}

bool is_aligned(const at::Tensor& x) {
  constexpr std::uintptr_t access_bytes = 16;
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % access_bytes == 0;
}

/// The kernels that are in use. Which one a product has follows from the device, the library and the choices
/// that were read at the first use, so it does not matter who asks first.
class KernelsInUse {
 public:
  /// For the current device. Null if there is no kernel for all numbers of rows.
  const ProductKernel* kernel_for(const ProductShape& shape, std::int64_t rows) {
    const std::scoped_lock lock(mutex_);
    const c10::DeviceIndex device = at::cuda::current_device();
    auto known = kernels_.find({device, shape});
    if (known == kernels_.end())
      known = kernels_.emplace(std::pair{device, shape}, cublas_lt_kernels(shape)).first;
    const ProductKernels& kernels = known->second;
    if (kernels.empty()) return nullptr;
    const std::string* const name = name_for(choices_of(device).choices, shape, rows);
    const auto chosen = std::ranges::find_if(
        kernels, [&](const auto& kernel) { return name != nullptr && kernel->name() == *name; });
    return chosen == kernels.end() ? kernels.front().get() : chosen->get();
  }

  const FoundChoices& choices() {
    const std::scoped_lock lock(mutex_);
    return choices_of(at::cuda::current_device());
  }

 private:
  const FoundChoices& choices_of(c10::DeviceIndex device) {
    const auto known = choices_.find(device);
    if (known != choices_.end()) return known->second;
    return choices_.emplace(device, find_product_choices(product_machine(), read_environment()))
        .first->second;
  }

  static const std::string* name_for(const ProductChoices& choices, const ProductShape& shape,
                                     std::int64_t rows) {
    const auto of_shape = choices.find(shape);
    return of_shape == choices.end() ? nullptr : choice_for(of_shape->second, rows);
  }

  std::mutex mutex_;
  std::map<c10::DeviceIndex, FoundChoices> choices_;  ///< by device
  std::map<std::pair<c10::DeviceIndex, ProductShape>, ProductKernels> kernels_;
};

KernelsInUse& kernels_in_use() {
  static KernelsInUse kernels;
  return kernels;
}

ProductShape shape_of(const at::Tensor& weight, ProductEnd end) {
  return {.type = weight.scalar_type(), .out = weight.size(0), .in = weight.size(1), .end = end};
}

bool fits_kernels(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::ScalarType type = weight.scalar_type();
  const auto fits = [&](const at::Tensor& tensor) {
    return tensor.device() == x.device() && tensor.scalar_type() == type && is_aligned(tensor);
  };
  return x.is_cuda() && (type == at::kBFloat16 || type == at::kHalf) && x.dim() == 2 && weight.dim() == 2 &&
         x.size(0) > 0 && x.size(1) == weight.size(1) && weight.size(0) % side_multiple == 0 &&
         weight.size(1) % side_multiple == 0 && weight.is_contiguous() && x.stride(1) == 1 &&
         x.stride(0) >= x.size(1) && x.stride(0) % side_multiple == 0 && fits(x) && fits(weight) &&
         (!bias.defined() || (fits(bias) && bias.is_contiguous() && bias.numel() == weight.size(0))) &&
         on_hopper(x.device());
}

}  // namespace

bool takes_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, ProductEnd end) {
  if (!fits_kernels(x, weight, bias)) return false;
  const DeviceStream device(x);
  return kernels_in_use().kernel_for(shape_of(weight, end), x.size(0)) != nullptr;
}

void product(const at::Tensor& out, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
             ProductEnd end) {
  WAN_CHECK(out.is_contiguous() && is_aligned(out) && out.scalar_type() == weight.scalar_type() &&
                out.device() == x.device() && out.dim() == 2 && out.size(0) == x.size(0) &&
                out.size(1) == weight.size(0) && bias.defined() == (end != ProductEnd::plain),
            "no place for a product of {} rows", x.size(0));
  const DeviceStream device(x);
  const ProductKernel* const kernel = kernels_in_use().kernel_for(shape_of(weight, end), x.size(0));
  WAN_CHECK(kernel != nullptr, "no kernel for {}", describe(shape_of(weight, end)));
  kernel->launch({.out = out.mutable_data_ptr(),
                  .x = x.const_data_ptr(),
                  .weight = weight.const_data_ptr(),
                  .bias = bias.defined() ? bias.const_data_ptr() : nullptr,
                  .rows = x.size(0),
                  .x_stride = x.stride(0)});
}

ProductState product_state(const at::Device& device) {
  WAN_CHECK(!device.has_index() || device.index() == at::cuda::current_device(),
            "the products of GPU {} while another one is current", device.index());
  if (!on_hopper({at::kCUDA, at::cuda::current_device()})) return {};
  return {.has_kernels = true, .machine = product_machine(), .found = kernels_in_use().choices()};
}

}  // namespace wan::kernels::cuda
