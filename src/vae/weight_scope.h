#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>

namespace wan::vae {

/// A prefix of tensor names and the source of the tensors. A layer passes the expected shape with each name.
/// So the same walk reads a checkpoint and lists the tensors that a checkpoint must have.
class WeightScope {
 public:
  using Read = std::function<at::Tensor(const std::string& name, at::IntArrayRef shape)>;

  explicit WeightScope(Read read) : read_(std::move(read)) {}

  /// The scope `prefix.name`.
  WeightScope operator/(const std::string& name) const { return {read_, prefix_ + name + "."}; }
  at::Tensor tensor(const std::string& name, at::IntArrayRef shape) const {
    return read_(prefix_ + name, shape);
  }

 private:
  WeightScope(Read read, std::string prefix) : read_(std::move(read)), prefix_(std::move(prefix)) {}

  Read read_;
  std::string prefix_;
};

}  // namespace wan::vae
