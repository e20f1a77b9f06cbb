#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>

#include "vae/arithmetic.h"

namespace wan::vae {

/// A prefix of tensor names, the source of the tensors, and the arithmetic of the layers that read them. A
/// layer passes the expected shape with each name. So the same walk reads a checkpoint and lists the tensors
/// that a checkpoint must have.
class WeightScope {
 public:
  using Read = std::function<at::Tensor(const std::string& name, at::IntArrayRef shape)>;

  explicit WeightScope(Read read, Arithmetic arithmetic = {})
      : read_(std::move(read)), arithmetic_(arithmetic) {}

  /// The scope `prefix.name`.
  WeightScope operator/(const std::string& name) const { return {read_, arithmetic_, prefix_ + name + "."}; }
  /// The same scope for layers that never round to 16 bits.
  WeightScope unrounded() const {
    Arithmetic same = arithmetic_;
    same.rounded.reset();
    return {read_, same, prefix_};
  }

  at::Tensor tensor(const std::string& name, at::IntArrayRef shape) const {
    return read_(prefix_ + name, shape);
  }
  const Arithmetic& arithmetic() const { return arithmetic_; }

 private:
  WeightScope(Read read, Arithmetic arithmetic, std::string prefix)
      : read_(std::move(read)), arithmetic_(arithmetic), prefix_(std::move(prefix)) {}

  Read read_;
  Arithmetic arithmetic_;
  std::string prefix_;
};

}  // namespace wan::vae
