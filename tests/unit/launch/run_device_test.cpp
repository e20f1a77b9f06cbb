#include "launch/run_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "comm/deferred.h"
#include "comm/dry_run.h"

namespace wan::launch {
namespace {

using Memory = std::array<std::uint64_t, 2>;  // of the GPU or the rank's share of the host, and of the host

/// A world of two ranks whose other rank has the memory that a test gives it, and no errors.
class PlayedWorld final : public comm::Communicator {
 public:
  explicit PlayedWorld(const Memory& other) : other_(other) {}

  int rank() const override { return 0; }
  int size() const override { return 2; }
  const std::string& name() const override { return alone_->name(); }
  comm::Ticket all_gather(std::span<const std::byte> send, std::span<std::byte> receive) override {
    return alone_->all_gather(send, receive);
  }
  comm::Ticket all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) override {
    return alone_->all_to_all(send, receive);
  }
  comm::Ticket all_reduce(std::span<float> values, comm::ReduceOp op) override {
    return alone_->all_reduce(values, op);
  }
  /// For a reduction of two values, uses the other rank's memories, which ranks reduce with a minus sign.
  comm::Ticket all_reduce(std::span<std::int64_t> values, comm::ReduceOp op) override {
    if (values.size() == other_.size() && op == comm::ReduceOp::max) {
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = std::max(values[i], -static_cast<std::int64_t>(other_.at(i)));
    }
    return alone_->all_reduce(values, op);
  }
  comm::Ticket broadcast(std::span<std::byte> bytes, int root) override {
    return alone_->broadcast(bytes, root);
  }
  comm::Ticket exchange(std::span<const comm::PeerTransfer> transfers) override {
    return alone_->exchange(transfers);
  }
  comm::Ticket barrier() override { return alone_->barrier(); }
  const comm::Traffic& traffic() const override { return alone_->traffic(); }

 private:
  std::unique_ptr<comm::Communicator> alone_ = comm::make_dry_run("world", 0, 2);
  Memory other_;
};

RunDevice device_beside(const Memory& other) {
  const auto world = comm::make_deferred(std::make_unique<PlayedWorld>(other));
  const comm::MpiRanks no_mpi;  // this process alone
  Options options;
  options.device = Device::cpu;
  return choose_device(*world, no_mpi, options);
}

/// Ranks that planned each with their own memory could choose layouts that do not fit together.
TEST(RunDevice, TheLayoutIsChosenFromTheLeastMemoryOfAllRanks) {
  constexpr std::uint64_t small = 1U << 20U;
  constexpr std::uint64_t large = std::uint64_t{1} << 60U;
  const RunDevice both_smaller = device_beside({small, 2 * small});
  EXPECT_EQ(both_smaller.memory_bytes, small);
  EXPECT_EQ(both_smaller.host_memory_bytes, 2 * small);
  const RunDevice one_smaller = device_beside({large, small});
  EXPECT_GT(one_smaller.memory_bytes, small) << "this machine's";
  EXPECT_LT(one_smaller.memory_bytes, large);
  EXPECT_EQ(one_smaller.host_memory_bytes, small);
}

}  // namespace
}  // namespace wan::launch
