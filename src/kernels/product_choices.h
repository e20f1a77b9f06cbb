#pragma once

#include <c10/core/ScalarType.h>

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/environment.h"

namespace wan::kernels {

/// The work of a matrix product after its sums in fp32, before the one rounding.
enum class ProductEnd { plain, bias, gelu };  // gelu: bias, then GELU in its tanh form

/// All matrix products with weights of one shape, whatever the number of rows of x.
struct ProductShape {
  c10::ScalarType type = c10::ScalarType::BFloat16;  ///< of x, weight, bias and out
  std::int64_t out = 0, in = 0;                      ///< weight: [out, in]
  ProductEnd end = ProductEnd::plain;

  auto operator<=>(const ProductShape&) const = default;
};

/// "bf16 [5120, 13824] bias"
std::string describe(const ProductShape& shape);

/// All that decides which kernels there are and how fast each is.
struct ProductMachine {
  std::string gpu;             ///< the name of the model: "NVIDIA H200"
  int multiprocessors = 0;     ///< fewer on a part of a GPU
  std::int64_t cublas_lt = 0;  ///< as cublasLtGetVersion() returns it

  bool operator==(const ProductMachine&) const = default;
};

/// The names of kernels for a shape, by the number of rows for which each was chosen. All have the same bits.
using RowChoices = std::map<std::int64_t, std::string>;

/// The choice for the number of rows whose ratio to `rows` is nearest to 1. Null if there is no choice.
const std::string* choice_for(const RowChoices& choices, std::int64_t rows);

/// The choices for each shape that was measured.
using ProductChoices = std::map<ProductShape, RowChoices>;

/// The choices that come with the program, measured on such machines (analysis/results/products_h200.md).
/// Empty for all others.
ProductChoices shipped_product_choices(const ProductMachine& machine);

/// The file with the choices for such machines: in WAN_PRODUCT_CACHE, else in
/// $XDG_CACHE_HOME/wan_batch/products, else in ~/.cache/wan_batch/products. Empty if none of these is set to
/// an absolute path.
std::filesystem::path product_choices_file(const ProductMachine& machine, const Environment& environment);

std::string format_product_choices(const ProductMachine& machine, const ProductChoices& choices);

/// Throws ValueError, which names the line, if the text is not of that form or for another machine.
ProductChoices parse_product_choices(std::string_view text, const ProductMachine& machine);

/// The choices for a machine, and their source for the log.
struct FoundChoices {
  ProductChoices choices;
  std::filesystem::path file;  ///< the file that was read; empty if there is none
  std::string problem;         ///< why a file that is there was not used, with its path; else empty
};

/// The shipped choices, and over them those of the file. A file that cannot be read or is broken changes
/// nothing but `problem`.
FoundChoices find_product_choices(const ProductMachine& machine, const Environment& environment);

/// Adds choices to the file and replaces it in one step. A shape's new choices replace all its earlier ones.
/// A broken file is replaced. If two programs do so at a time, the choices of one may be missing; no reader
/// sees half a file. Throws Error.
void keep_product_choices(const std::filesystem::path& file, const ProductMachine& machine,
                          const ProductChoices& choices);

/// The median times of a kernel for several numbers of rows.
struct KernelTimes {
  std::string kernel;
  std::vector<double> seconds;
};

/// The kernel to take for each number of rows, as its place in `kernels`. For most it is one kernel: that
/// with the least sum of times, each over the least time for that number of rows. The first kernel, which is
/// the library's own choice, stays unless another is faster by more than repeated measurements differ. A
/// number of rows has a kernel of its own if that one is faster by more than 2 %. Steps do not show what a
/// product alone gains below that (analysis/results/products_h200.md).
std::vector<std::size_t> best_kernels(const std::vector<KernelTimes>& kernels);

}  // namespace wan::kernels
