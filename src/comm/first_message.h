#pragma once

#include <optional>
#include <string>

#include "comm/communicator.h"

namespace wan::comm {

/// A text of one rank that all ranks know.
struct RankMessage {
  int rank = 0;
  std::string text;
};

/// Each rank passes a text or nothing. All ranks get the text of the lowest rank that passed one, or nothing
/// if none did. Collective.
std::optional<RankMessage> first_message(Communicator& group, const std::optional<std::string>& own);

}  // namespace wan::comm
