#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "comm/communicator.h"

namespace wan::comm {

/// One call, as errors name it.
struct CallRecord {
  Operation operation = Operation::barrier;
  std::uint64_t number = 0;  ///< number of the call on the group, counted from 0
  std::size_t bytes = 0;     ///< size of the larger buffer: sent or received

  std::string describe() const;  ///< "all_gather number 17 (4096 bytes)"
};

}  // namespace wan::comm
