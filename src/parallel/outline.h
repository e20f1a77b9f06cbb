#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <exception>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "checkpoint/weight_source.h"
#include "comm/communicator.h"
#include "core/check.h"
#include "dit/sequence_exchange.h"
#include "parallel/host_memory.h"
#include "vae/row_exchange.h"
#include "vae/vae.h"

namespace wan::parallel {

// A rank whose memory ran out in the middle of a network still owes the others the network's remaining
// collectives. It walks through the network's code again as an outline: with tensors of the meta device,
// which have shapes but no memory, so nothing is computed. The network gets the ports of this file instead of
// the real ones. They pass on the calls that are collectives and have not been made yet. A network needs no
// code for this.

/// Counts the calls of one collective in one group since the object was made.
class CallsSince {
 public:
  CallsSince(const comm::Communicator& group, comm::Operation operation)
      : group_(&group), operation_(operation), before_(all()) {}
  std::uint64_t count() const { return all() - before_; }

 private:
  std::uint64_t all() const { return group_->traffic().calls[static_cast<std::size_t>(operation_)]; }

  const comm::Communicator* group_;
  comm::Operation operation_;
  std::uint64_t before_;
};

/// Tells which calls of a sequence of collectives a rank still owes the others.
class OwedCalls {
 public:
  /// `done`: number of calls of the sequence that have been made.
  explicit OwedCalls(std::uint64_t done) : done_(done) {}
  /// Whether the next call of the sequence is owed.
  bool is_owed() { return number_++ >= done_; }

 private:
  std::uint64_t done_;
  std::uint64_t number_ = 0;
};

/// Runs `work`, which makes the collectives that a rank without memory still owes the others. The rank has
/// released its tensors before, so there is memory for this. If there is not, the run ends here with an
/// Error, because the others would wait.
template <typename Work>
void do_owed_collectives(Work&& work) {
  try {
    std::forward<Work>(work)();
  } catch (const c10::OutOfMemoryError& error) {
    fail(
        "memory ran out, and then even what the other ranks' collectives need of this one: {}; look for "
        "other "
        "programs on this GPU, and run again to go on",
        error.what_without_backtrace());
  }
}

/// Runs `work` and returns its result. If memory runs out, `finish` makes the collectives that this rank
/// still owes the others. c10::OutOfMemoryError then passes through.
template <typename Work, typename Finish>
auto work_or_owe(Work&& work, Finish&& finish) -> decltype(std::forward<Work>(work)()) {
  std::exception_ptr shortage;
  try {
    return with_host_memory(std::forward<Work>(work));
  } catch (const c10::OutOfMemoryError&) {
    shortage = std::current_exception();
  }
  do_owed_collectives(std::forward<Finish>(finish));
  std::rethrow_exception(shortage);
}

/// A tensor of this shape without memory.
at::Tensor outline_of(at::IntArrayRef shape, at::ScalarType type);

/// The weights of a network's outline. begin() passes on the units whose gathers are owed. Each of these
/// gathers is then waited for, and its buffer returned, as in a forward.
class OutlineWeights final : public checkpoint::WeightSource {
 public:
  /// Settles `real`, which must outlive this object, as `units` must. `done`: number of units that were
  /// begun.
  OutlineWeights(checkpoint::WeightSource& real, std::span<const checkpoint::UnitLayout> units,
                 at::ScalarType type, std::uint64_t done);

  void begin(int unit) override;
  std::span<const at::Tensor> weights(int unit) override;
  void end(int unit) override;
  void settle() override;

 private:
  checkpoint::WeightSource& real_;
  std::span<const checkpoint::UnitLayout> units_;
  at::ScalarType type_;
  OwedCalls calls_;
  struct Begun {
    bool is_real = false;             ///< begun by this outline, not before it
    std::vector<at::Tensor> outline;  ///< one for each parameter
  };
  std::map<int, Begun> begun_;
};

/// The exchange of a transformer's outline. Passes on the launches that are owed, and waits for all of them.
class OutlineExchange final : public dit::SequenceExchange {
 public:
  /// `real` must outlive this object. `done`: number of launches that have been made.
  OutlineExchange(dit::SequenceExchange& real, at::ScalarType type, std::uint64_t done)
      : real_(real), type_(type), calls_(done) {}

  const dit::SequenceShape& shape() const override { return real_.shape(); }
  at::Tensor qkv_buffer(int chunk) override;
  void launch_qkv(int chunk) override;
  at::Tensor wait_qkv(int chunk) override;
  at::Tensor attention_buffer(int chunk) override;
  void launch_attention(int chunk) override;
  at::Tensor wait_attention(int chunk) override;

 private:
  dit::SequenceExchange& real_;
  at::ScalarType type_;
  OwedCalls calls_;
};

/// The exchange of an autoencoder's outline. Makes the calls that are owed, with zeros for the rows.
class OutlineRows final : public vae::RowExchange {
 public:
  /// Both must outlive this object. `device`: the device from which the owed rows are sent.
  OutlineRows(vae::RowExchange& real, OwedCalls& calls, at::Device device);

  vae::Halo exchange_halo(const at::Tensor& rows, std::int64_t above, std::int64_t below) override;
  at::Tensor gather_rows(const at::Tensor& rows) override;

 private:
  vae::RowExchange& real_;
  OwedCalls& calls_;
  at::Device device_;
};

/// The autoencoder with weights that have no memory.
vae::Vae make_outline(const vae::VaeConfig& config, const vae::Arithmetic& arithmetic);

}  // namespace wan::parallel
