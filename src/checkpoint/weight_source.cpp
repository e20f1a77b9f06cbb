#include "checkpoint/weight_source.h"

#include "checkpoint/tensor_file.h"
#include "core/check.h"

namespace wan::checkpoint {

std::int64_t Parameter::elements() const {
  const std::optional<std::int64_t> count = checked_elements(shape);
  WAN_CHECK(count.has_value(), "parameter {} has no valid shape: {}", name, shape_text(shape));
  return *count;
}

std::int64_t UnitLayout::elements() const {
  return parameters.empty() ? 0 : parameters.back().offset + parameters.back().elements();
}

}  // namespace wan::checkpoint
