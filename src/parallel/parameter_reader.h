#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "checkpoint/weight_source.h"

namespace wan::parallel {

/// Changes parameters on the GPU behind the upload of their values: LoRAs are added there, because the
/// threads that read files would take many times as long. Several threads may call it.
class DeviceMerge {
 public:
  DeviceMerge() = default;
  DeviceMerge(const DeviceMerge&) = delete;
  DeviceMerge& operator=(const DeviceMerge&) = delete;
  DeviceMerge(DeviceMerge&&) = delete;
  DeviceMerge& operator=(DeviceMerge&&) = delete;
  virtual ~DeviceMerge() = default;

  /// Whether it makes this parameter's values on `device` in `type`. The reader makes the others.
  virtual bool makes(const checkpoint::Parameter& parameter, const at::Device& device,
                     at::ScalarType type) const = 0;
  /// The type in which the values are uploaded to be merged into values of `type`.
  virtual at::ScalarType base_type(const checkpoint::Parameter& parameter, at::ScalarType type) const = 0;
  /// Begins with what merge() needs beside the values, so that threads that read them do not wait for it.
  /// Returns at once if another thread has begun.
  virtual void prepare(const checkpoint::Parameter& parameter, const at::Device& device) const = 0;
  /// Fills `out`, in host memory, with the values before the change.
  virtual void read_base(const checkpoint::Parameter& parameter, std::int64_t first,
                         const at::Tensor& out) const = 0;
  /// Writes the changed values of elements [first, first + out.numel()) to `out`, in the order of the GPU's
  /// current stream. `base`: the values before; may be `out` itself.
  virtual void merge(const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& base,
                     const at::Tensor& out) const = 0;
};

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

  /// A function that reads files into host memory. Several threads call it at the same time. `on_gpu` makes
  /// the same values for GPUs; it may be null.
  static ParameterReader of_files(Function read, std::shared_ptr<const DeviceMerge> on_gpu = {}) {
    ParameterReader reader(std::move(read));
    reader.reads_files_ = true;
    reader.on_gpu_ = std::move(on_gpu);
    return reader;
  }

  bool reads_files() const { return reads_files_; }
  const DeviceMerge* on_gpu() const { return on_gpu_.get(); }
  void operator()(const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) const {
    read_(parameter, first, out);
  }

 private:
  Function read_;
  bool reads_files_ = false;
  std::shared_ptr<const DeviceMerge> on_gpu_;
};

}  // namespace wan::parallel
