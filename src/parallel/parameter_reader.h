#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <utility>

#include "checkpoint/weight_source.h"

namespace wan::parallel {

/// Fills `out` (one-dimensional, contiguous) with elements [first, first + out.numel()) of a parameter's
/// row-major content, rounded to out's type.
class ParameterReader {
 public:
  using Function =
      std::function<void(const checkpoint::Parameter&, std::int64_t first, const at::Tensor& out)>;

  ParameterReader() = default;
  /// A function that makes values, on any device. One thread at a time calls it.
  template <typename Make>
  requires(!std::same_as<std::remove_cvref_t<Make>, ParameterReader> && std::convertible_to<Make, Function>)
      ParameterReader(Make&& make)
      : read_(std::forward<Make>(make)) {}  // NOLINT(google-explicit-constructor)

  /// A function that reads files into host memory. Several threads call it at the same time.
  static ParameterReader of_files(Function read) {
    ParameterReader reader(std::move(read));
    reader.reads_files_ = true;
    return reader;
  }

  bool reads_files() const { return reads_files_; }
  void operator()(const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) const {
    read_(parameter, first, out);
  }

 private:
  Function read_;
  bool reads_files_ = false;
};

}  // namespace wan::parallel
