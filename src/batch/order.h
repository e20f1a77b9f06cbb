#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>

#include "comm/communicator.h"
#include "wan/engine.h"

namespace wan::batch {

/// An order of a leader to its group, or to the leaders of groups that it invites into a team. It travels
/// byte by byte.
struct Order {
  enum class Action : std::int64_t { run, make_leaner, stop, abort };
  Action action = Action::stop;
  std::int64_t row = 0;
  std::uint64_t seed = 0;
  std::int64_t width = 1;              ///< groups of the team
  std::int64_t leader_group = 0;       ///< of the run
  std::array<char, 32> token{};        ///< of the leader's temporary files
  std::int64_t first_expert_only = 0;  ///< 1: OutputPaths::first_expert_only

  std::string_view token_text() const { return {token.data(), token.size()}; }
  Team team() const {
    return {.width = static_cast<int>(width), .leader = static_cast<int>(leader_group % width)};
  }
};

/// Waits for the next order, on a rank that does not lead. That may take any time; `meanwhile` is called now
/// and then. Collective.
inline void await_order(comm::Communicator& group, Order& order, const std::function<void()>& meanwhile) {
  group.broadcast(std::as_writable_bytes(std::span(&order, 1)), 0).wait_without_limit(meanwhile);
}

/// Sends an order from rank 0 of the group to all its ranks. Collective.
inline void broadcast(comm::Communicator& group, Order& order) {
  group.broadcast(std::as_writable_bytes(std::span(&order, 1)), 0).wait();
}

}  // namespace wan::batch
