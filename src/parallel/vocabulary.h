#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "comm/communicator.h"
#include "parallel/unit_weights.h"

namespace wan::parallel {

/// The token embedding table split by rows over a group: each rank reads and keeps its range of the
/// vocabulary. A lookup adds up one row and zeros from the others, so it is exact. With one rank the table is
/// whole.
class Vocabulary {
 public:
  /// `table`: the parameter, [vocabulary, dim].
  Vocabulary(const checkpoint::Parameter& table, const ParameterReader& read, comm::Communicator& group);

  /// Collective. Returns [ids, dim].
  at::Tensor lookup(std::span<const std::int64_t> ids);

 private:
  comm::Communicator& group_;
  std::int64_t first_ = 0;
  std::int64_t vocabulary_ = 0;
  at::Tensor rows_;  ///< [own rows, dim]
};

}  // namespace wan::parallel
