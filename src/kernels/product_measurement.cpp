#include "kernels/product_measurement.h"

#include <fmt/ranges.h>

#include "core/check.h"
#include "kernels/cuda/products.h"
#include "kernels/device.h"

namespace wan::kernels {
namespace {

double tflops(const MeasuredProduct& product, std::size_t kernel, std::size_t place) {
  constexpr double tera = 1e12;
  const double operations = 2.0 * static_cast<double>(product.rows[place]) *
                            static_cast<double>(product.shape.in) * static_cast<double>(product.shape.out);
  return operations / product.kernels[kernel].seconds[place] / tera;
}

std::string table_of(const MeasuredProduct& product) {
  std::string text = fmt::format("{}, TFLOP/s with {} rows; * is taken\n", describe(product.shape),
                                 fmt::join(product.rows, ", "));
  for (std::size_t i = 0; i < product.kernels.size(); ++i) {
    text += fmt::format("  {:<34}", product.kernels[i].kernel);
    for (std::size_t place = 0; place < product.rows.size(); ++place) {
      text += fmt::format("{:7.1f}{}", tflops(product, i, place), product.best[place] == i ? '*' : ' ');
    }
    constexpr double percent = 100;
    text += fmt::format(" spread {:.1f} %{}\n", percent * product.spreads[i],
                        i == 0 ? ", the library's first choice" : "");
  }
  if (product.other_bits > 0) {
    text += fmt::format("  {} more give other bits and are never taken\n", product.other_bits);
  }
  return text;
}

}  // namespace

ProductState product_state(const at::Device& device) {
  if constexpr (with_cuda) {
    if (device.is_cuda()) return cuda::product_state(device);
  }
  return {};
}

MeasuredProduct measure_product(const ProductShape& shape, std::span<const std::int64_t> rows,
                                const at::Device& device, const ProductTiming& timing) {
  WAN_CHECK(product_state(device).has_kernels && !rows.empty(), "nothing to measure on {}", device.str());
  if constexpr (with_cuda) return cuda::measure_product(shape, rows, device, timing);
  return {};
}

RowChoices choices_of(const MeasuredProduct& product) {
  RowChoices choices;
  for (std::size_t place = 0; place < product.rows.size(); ++place) {
    choices.insert_or_assign(product.rows[place], product.kernels[product.best[place]].kernel);
  }
  return choices;
}

std::string product_table(std::span<const MeasuredProduct> products) {
  std::string text;
  for (const MeasuredProduct& product : products) text += table_of(product);
  return text;
}

}  // namespace wan::kernels
