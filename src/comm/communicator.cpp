#include "comm/communicator.h"

#include <numeric>

namespace wan::comm {

std::string_view to_string(Operation operation) {
  switch (operation) {
    case Operation::all_gather:
      return "all_gather";
    case Operation::all_to_all:
      return "all_to_all";
    case Operation::all_reduce:
      return "all_reduce";
    case Operation::broadcast:
      return "broadcast";
    case Operation::exchange:
      return "exchange";
    case Operation::barrier:
      return "barrier";
  }
  return "unknown operation";
}

std::uint64_t Traffic::total_sent_bytes() const {
  return std::accumulate(sent_bytes.begin(), sent_bytes.end(), std::uint64_t{0});
}

}  // namespace wan::comm
