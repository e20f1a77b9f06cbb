#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/product_choices.h"

namespace wan::kernels::cuda {

/// out = x W^T, with dense weight, bias and out. All begin at multiples of 16 bytes, and so do the rows.
struct ProductCall {
  void* out = nullptr;           ///< [rows, out]
  const void* x = nullptr;       ///< [rows, in]
  const void* weight = nullptr;  ///< [out, in]
  const void* bias = nullptr;    ///< [out]; null for ProductEnd::plain
  std::int64_t rows = 0;         ///< at least 1
  std::int64_t x_stride = 0;     ///< elements from row to row of x
};

/// One way to compute the products of one shape, the same for every number of rows: the bits of a row do not
/// depend on how many there are.
class ProductKernel {
 public:
  ProductKernel() = default;
  ProductKernel(const ProductKernel&) = delete;
  ProductKernel& operator=(const ProductKernel&) = delete;
  virtual ~ProductKernel() = default;

  /// The name in the table of choices: the library, a colon, and numbers that name the kernel in it.
  virtual const std::string& name() const = 0;
  /// Launches the product on the current device and stream. Throws Error.
  virtual void launch(const ProductCall& call) const = 0;
};

using ProductKernels = std::vector<std::unique_ptr<ProductKernel>>;

/// The kernels of cuBLASLt for a shape on the current device, its own first choice first. None of them
/// divides a sum among blocks, so each adds a row's products in the same order, whatever the number of rows.
ProductKernels cublas_lt_kernels(const ProductShape& shape);

/// The current device and the library.
ProductMachine product_machine();

}  // namespace wan::kernels::cuda
