#include "gpu/comm/staged_communicator.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "comm/nccl/cuda_support.h"

namespace wan::comm::test {
namespace {

void check(cudaError_t code, const char* call) { check_cuda(code, call, "in a staged communicator"); }

/// The device buffers of one call, in stream order.
class Staging {
 public:
  explicit Staging(cudaStream_t stream) : stream_(stream) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    for (const Copy& copy : copies_) cudaFreeAsync(copy.device, stream_);
  }

  /// Device memory with the content of `host`.
  std::span<std::byte> copy_in(std::span<const std::byte> host) {
    const std::span<std::byte> device = allocate(host.size());
    if (host.empty()) return device;
    check(cudaMemcpyAsync(device.data(), host.data(), host.size(), cudaMemcpyHostToDevice, stream_),
          "cudaMemcpyAsync");
    return device;
  }
  /// Device memory whose content is copied to `host` at the end.
  std::span<std::byte> receive_for(std::span<std::byte> host) {
    const std::span<std::byte> device = allocate(host.size());
    if (host.empty()) return device;
    check(cudaMemsetAsync(device.data(), 0xFF, host.size(), stream_), "cudaMemsetAsync");
    copies_.back().host = host;
    return device;
  }
  /// Both.
  std::span<std::byte> copy_in_and_back(std::span<std::byte> host) {
    const std::span<std::byte> device = copy_in(host);
    copies_.back().host = host;
    return device;
  }

  void copy_back() {
    for (const Copy& copy : copies_) {
      if (copy.host.empty()) continue;
      check(cudaMemcpyAsync(copy.host.data(), copy.device, copy.host.size(), cudaMemcpyDeviceToHost, stream_),
            "cudaMemcpyAsync");
    }
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

 private:
  struct Copy {
    void* device = nullptr;
    std::span<std::byte> host;
  };

  std::span<std::byte> allocate(std::size_t bytes) {
    void* device = nullptr;
    check(cudaMallocAsync(&device, std::max<std::size_t>(bytes, 1), stream_), "cudaMallocAsync");
    copies_.push_back({.device = device, .host = {}});
    return {static_cast<std::byte*>(device), bytes};
  }

  cudaStream_t stream_;
  std::vector<Copy> copies_;
};

class StagedPending final : public Ticket::Pending {
 public:
  StagedPending(Ticket ticket, std::unique_ptr<Staging> staging)
      : staging_(std::move(staging)), ticket_(std::move(ticket)) {}

  void wait() override {
    ticket_.wait();
    staging_->copy_back();
  }
  std::string describe() const override { return "a staged collective"; }

 private:
  std::unique_ptr<Staging> staging_;
  Ticket ticket_;
};

class StagedCommunicator final : public Communicator {
 public:
  explicit StagedCommunicator(
      const std::function<std::unique_ptr<Communicator>(cudaStream_t compute_stream)>& make_inner)
      : inner_(make_inner(stream_.get())) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  const std::string& name() const override { return inner_->name(); }
  const Traffic& traffic() const override { return inner_->traffic(); }

  Ticket all_gather(std::span<const std::byte> send, std::span<std::byte> receive) override {
    auto staging = new_staging();
    const std::byte* own = receive.data() + static_cast<std::size_t>(rank()) * send.size();
    if (!send.empty() && send.data() == own) {
      const std::span<std::byte> buffer = staging->copy_in_and_back(receive);
      const auto offset = static_cast<std::size_t>(own - receive.data());
      return ticket(inner_->all_gather(buffer.subspan(offset, send.size()), buffer), std::move(staging));
    }
    const std::span<std::byte> from = staging->copy_in(send);
    const std::span<std::byte> to = staging->receive_for(receive);
    return ticket(inner_->all_gather(from, to), std::move(staging));
  }

  Ticket all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) override {
    auto staging = new_staging();
    const std::span<std::byte> from = staging->copy_in(send);
    const std::span<std::byte> to = staging->receive_for(receive);
    return ticket(inner_->all_to_all(from, to), std::move(staging));
  }

  Ticket all_reduce(std::span<float> values, ReduceOp op) override { return reduce(values, op); }
  Ticket all_reduce(std::span<std::int64_t> values, ReduceOp op) override { return reduce(values, op); }

  Ticket broadcast(std::span<std::byte> bytes, int root) override {
    auto staging = new_staging();
    const std::span<std::byte> buffer = staging->copy_in_and_back(bytes);
    return ticket(inner_->broadcast(buffer, root), std::move(staging));
  }

  Ticket exchange(std::span<const PeerTransfer> transfers) override {
    auto staging = new_staging();
    std::vector<PeerTransfer> staged;
    for (const PeerTransfer& transfer : transfers) {
      staged.push_back({.peer = transfer.peer,
                        .send = staging->copy_in(transfer.send),
                        .receive = staging->receive_for(transfer.receive)});
    }
    return ticket(inner_->exchange(staged), std::move(staging));
  }

  Ticket barrier() override { return ticket(inner_->barrier(), new_staging()); }

 private:
  std::unique_ptr<Staging> new_staging() const { return std::make_unique<Staging>(stream_.get()); }

  static Ticket ticket(Ticket inner, std::unique_ptr<Staging> staging) {
    return Ticket(std::make_unique<StagedPending>(std::move(inner), std::move(staging)));
  }

  template <typename Value>
  Ticket reduce(std::span<Value> values, ReduceOp op) {
    auto staging = new_staging();
    const std::span<std::byte> buffer = staging->copy_in_and_back(std::as_writable_bytes(values));
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): device memory of these values
    const std::span<Value> staged(reinterpret_cast<Value*>(buffer.data()), values.size());
    return ticket(inner_->all_reduce(staged, op), std::move(staging));
  }

  CudaStream stream_;
  std::unique_ptr<Communicator> inner_;
};

}  // namespace

std::unique_ptr<Communicator> make_staged(
    const std::function<std::unique_ptr<Communicator>(cudaStream_t compute_stream)>& make_inner) {
  return std::make_unique<StagedCommunicator>(make_inner);
}

}  // namespace wan::comm::test
