#include "comm/watch/call_record.h"

#include <fmt/format.h>

namespace wan::comm {

std::string CallRecord::describe() const {
  return fmt::format("{} number {} ({} bytes)", to_string(operation), number, bytes);
}

}  // namespace wan::comm
