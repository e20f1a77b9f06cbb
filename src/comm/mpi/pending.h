#pragma once

#include <mpi.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/group.h"

namespace wan::comm {

/// A point-to-point message of an exchange.
struct Message {
  int peer = 0;
  std::size_t bytes = 0;
  bool receive = false;
};

/// An MPI collective in progress. If it is destroyed before wait() has returned, it abandons its group.
class MpiPending final : public Ticket::Pending {
 public:
  using Finish = std::function<void(std::span<const std::byte> scratch)>;

  /// Takes the group's next number. Throws Error if the group was abandoned.
  MpiPending(std::shared_ptr<MpiGroup> group, Operation operation, std::size_t bytes);
  MpiPending(const MpiPending&) = delete;
  MpiPending& operator=(const MpiPending&) = delete;
  MpiPending(MpiPending&&) = delete;
  MpiPending& operator=(MpiPending&&) = delete;
  ~MpiPending() override;

  std::uint64_t number() const { return call_.number; }
  /// The place where an MPI call writes its request; valid until the next of these calls.
  MPI_Request* add_request() { return &requests_.emplace_back(MPI_REQUEST_NULL); }
  MPI_Request* add_message(const Message& message);
  /// Sets memory that lives as long as MPI may write to it, and the function to call when all data are there.
  std::span<std::byte> set_scratch(std::size_t bytes, Finish finish);
  /// Throws Error with the MPI call, this collective and the rank unless `code` is MPI_SUCCESS.
  void check_started(int code, const char* mpi_call) const;

  void wait() override;
  void wait_without_limit(const std::function<void()>& meanwhile) override;
  std::string describe() const override;

 private:
  void finish_receiving(const std::vector<MPI_Status>& statuses);
  bool test(std::vector<MPI_Status>& statuses);
  void check_received(const std::vector<MPI_Status>& statuses) const;
  [[noreturn]] void time_out(double waited_s);
  std::string unfinished_messages() const;

  std::shared_ptr<MpiGroup> group_;
  CallRecord call_;
  std::vector<MPI_Request> requests_;
  std::vector<Message> messages_;  ///< for an exchange: messages_[i] belongs to request i
  std::vector<std::byte> scratch_;
  Finish finish_;
  bool complete_ = false;
};

}  // namespace wan::comm
