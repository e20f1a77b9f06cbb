#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/communicator.h"

namespace wan::comm {

/// Short messages between ranks for which nobody waits: the receiver looks from time to time whether one has
/// come. Messages from one rank to another arrive in the order of sending. Only the host thread that calls
/// the collectives may use a mailbox.
class Mailbox {
 public:
  static constexpr std::size_t max_letter_bytes = 1024;
  struct Letter {
    int from = 0;
    std::vector<std::byte> bytes;
  };

  virtual ~Mailbox() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Returns at once. Throws Error, also for more than max_letter_bytes.
  virtual void send(int to, std::span<const std::byte> bytes) = 0;
  /// The next letter, if one has come. Throws Error.
  virtual std::optional<Letter> receive() = 0;
};

/// Makes a mailbox between all ranks of the job. Collective over `world`, which comes from make_mpi_world().
std::unique_ptr<Mailbox> make_mpi_mailbox(Communicator& world);

}  // namespace wan::comm
