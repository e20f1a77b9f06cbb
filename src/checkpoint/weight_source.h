#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace at {
class Tensor;
}

namespace wan::checkpoint {

/// One parameter of a unit and its place in the unit's flat buffer.
struct Parameter {
  std::string name;  ///< the checkpoint's full name, "blocks.3.ffn.0.weight"
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  ///< in elements
  std::int64_t elements() const;
};

/// Parameters that are used, gathered and freed together: one transformer block, or the layers before or
/// after the blocks. They lie in a flat buffer in this order.
struct UnitLayout {
  std::string name;  ///< "blocks.3"
  std::vector<Parameter> parameters;
  std::int64_t elements() const;
};

/// The port through which a model gets its weights, unit by unit. The model calls begin(u), weights(u),
/// end(u). It may call begin() early, to start fetching. The tensors of weights(u) are valid until end(u).
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual void begin(int unit) = 0;
  /// One tensor per parameter, in the layout's order and with its shape, in the compute type and on the
  /// compute device.
  virtual std::span<const at::Tensor> weights(int unit) = 0;
  virtual void end(int unit) = 0;
  /// Waits for and discards every pending unit. Call it after a forward that threw, before another model
  /// runs.
  virtual void settle() = 0;
};

}  // namespace wan::checkpoint
