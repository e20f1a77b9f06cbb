#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>

namespace wan::vae {

/// A prefix of tensor names and where the tensors come from. Layers state the shape they need with the name,
/// so that reading a checkpoint and listing what a checkpoint must hold are the same walk.
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
