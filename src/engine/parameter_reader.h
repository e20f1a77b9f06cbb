#pragma once

#include "checkpoint/checkpoint.h"
#include "parallel/unit_weights.h"

namespace wan::engine {

/// Reads parameters by their names from a checkpoint, which must outlive the reader.
inline parallel::ParameterReader parameter_reader(const checkpoint::Checkpoint& from) {
  return [&from](const checkpoint::Parameter& parameter, std::int64_t first, std::span<float> out) {
    from.read_floats(from.entry(parameter.name), first, out);
  };
}

}  // namespace wan::engine
