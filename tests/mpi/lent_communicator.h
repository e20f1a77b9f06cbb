#pragma once

#include <memory>
#include <utility>

#include "comm/communicator.h"
#include "parallel/layout.h"

namespace wan::test {

/// A communicator that passes every call on to one that stays when this one goes. Engines take the
/// communicators that they are given with them; this lets one set serve several engines, one after the other.
class LentCommunicator final : public comm::Communicator {
 public:
  explicit LentCommunicator(std::shared_ptr<comm::Communicator> lender) : lender_(std::move(lender)) {}

  int rank() const override { return lender_->rank(); }
  int size() const override { return lender_->size(); }
  const std::string& name() const override { return lender_->name(); }
  comm::Ticket all_gather(std::span<const std::byte> send, std::span<std::byte> receive) override {
    return lender_->all_gather(send, receive);
  }
  comm::Ticket all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) override {
    return lender_->all_to_all(send, receive);
  }
  comm::Ticket all_reduce(std::span<float> values, comm::ReduceOp op) override {
    return lender_->all_reduce(values, op);
  }
  comm::Ticket all_reduce(std::span<std::int64_t> values, comm::ReduceOp op) override {
    return lender_->all_reduce(values, op);
  }
  comm::Ticket broadcast(std::span<std::byte> bytes, int root) override {
    return lender_->broadcast(bytes, root);
  }
  comm::Ticket exchange(std::span<const comm::PeerTransfer> transfers) override {
    return lender_->exchange(transfers);
  }
  comm::Ticket barrier() override { return lender_->barrier(); }
  /// The traffic of all engines together.
  const comm::Traffic& traffic() const override { return lender_->traffic(); }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return lender_->allocate(bytes); }

 private:
  std::shared_ptr<comm::Communicator> lender_;
};

/// The communicators of `owned` for one engine.
inline parallel::GroupCommunicators lend(const std::shared_ptr<parallel::GroupCommunicators>& owned) {
  const auto lent = [&](const auto& communicator) {
    return std::make_unique<LentCommunicator>(std::shared_ptr<comm::Communicator>(owned, communicator.get()));
  };
  const auto passes = [&](const parallel::PassCommunicators& of) {
    return parallel::PassCommunicators{
        .shape = of.shape, .position = of.position, .ulysses = lent(of.ulysses), .cfg = lent(of.cfg)};
  };
  return {.group = lent(owned->group),
          .fsdp = lent(owned->fsdp),
          .vae = lent(owned->vae),
          .guided = passes(owned->guided),
          .unguided = passes(owned->unguided),
          .world_rank = owned->world_rank};
}

}  // namespace wan::test
