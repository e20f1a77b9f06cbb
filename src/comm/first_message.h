#pragma once

#include <optional>
#include <string>

#include "comm/communicator.h"

namespace wan::comm {

/// A text of one rank, known to all.
struct RankMessage {
  int rank = 0;
  std::string text;
};

/// Every rank says something or nothing; all get what the lowest rank that spoke has said, or nothing if none
/// did. Collective.
std::optional<RankMessage> first_message(Communicator& group, const std::optional<std::string>& own);

}  // namespace wan::comm
