#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/product_choices.h"

namespace wan::kernels {

/// The device and the choices for it. Empty on the CPU and on GPUs whose products LibTorch computes.
struct ProductState {
  bool has_kernels = false;
  ProductMachine machine;
  FoundChoices found;
};
ProductState product_state(const at::Device& device);

/// All that measure_product() found.
struct MeasuredProduct {
  ProductShape shape;
  std::vector<std::int64_t> rows;
  std::vector<KernelTimes> kernels;  ///< the library's first choice first
  std::vector<double> spreads;       ///< of each kernel: the largest difference over the median, of all rows
  std::vector<std::size_t> best;     ///< for each number of rows: the kernel to take
  int other_bits = 0;  ///< kernels that were left out because their bits differ from the first one's
};

/// The lengths of a measurement.
struct ProductTiming {
  double warm_up_s = 2;      ///< from an idle GPU to its power limit
  double settling_s = 0.02;  ///< after the kernel before, whose power differs
  double timed_s = 0.06;
  int rounds = 5;
};

/// Times the kernels of a shape beside each other, in random order, under a load that takes the GPU to its
/// power limit. Takes seconds, and memory for two results. Throws Error if the device has no kernels.
MeasuredProduct measure_product(const ProductShape& shape, std::span<const std::int64_t> rows,
                                const at::Device& device, const ProductTiming& timing = {});

/// The names of the best kernels.
RowChoices choices_of(const MeasuredProduct& product);

/// A table of measured kernels, with TFLOP/s. A star stands at the best ones.
std::string product_table(std::span<const MeasuredProduct> products);

}  // namespace wan::kernels
