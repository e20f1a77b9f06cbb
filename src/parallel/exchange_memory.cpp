#include "parallel/exchange_memory.h"

#include <ATen/ATen.h>

#include <utility>

#include "core/check.h"

namespace wan::parallel {
namespace {

constexpr std::int64_t alignment_elements = 256;

std::int64_t aligned(std::int64_t elements) {
  return (elements + alignment_elements - 1) / alignment_elements * alignment_elements;
}

}  // namespace

ExchangeMemory::ExchangeMemory(comm::Communicator& group, const std::vector<std::int64_t>& elements,
                               const kernels::Compute& compute)
    : compute_(compute) {
  for (const std::int64_t count : elements) reserved_ += aligned(count);
  const auto bytes = static_cast<std::size_t>(reserved_) * c10::elementSize(compute.type);
  if (const std::shared_ptr<std::byte> own = group.allocate(bytes)) {
    memory_ = at::from_blob(
        own.get(), {reserved_}, [own](void* /*memory*/) {}, compute.options());
    memory_.zero_();
  }
}

at::Tensor ExchangeMemory::take(at::IntArrayRef shape) {
  const std::int64_t elements = c10::multiply_integers(shape);
  WAN_CHECK(taken_ + elements <= reserved_, "{} elements are taken of {}, {} more are asked for", taken_,
            reserved_, elements);
  const std::int64_t first = std::exchange(taken_, taken_ + aligned(elements));
  return is_special() ? memory_.narrow(0, first, elements).view(shape) : at::zeros(shape, compute_.options());
}

}  // namespace wan::parallel
