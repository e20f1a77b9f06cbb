#include <gmock/gmock.h>

#include <numeric>
#include <stdexcept>

#include "comm/mpi/mpi.h"
#include "comm/nccl/cuda_support.h"
#include "comm/nccl/nccl.h"
#include "core/clock.h"
#include "gpu/comm/gpu_job.h"
#include "gpu/comm/stress_kernels.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

using testing::HasSubstr;

void check(cudaError_t code, const char* what) { check_cuda(code, what, "in the test"); }

/// Properties that only a group on the device has. The conformance tests cover the others.
class NcclGroupTest : public testing::Test {
 protected:
  NcclGroupTest() { std::iota(everyone_.begin(), everyone_.end(), 0); }

  std::unique_ptr<Communicator> make_group(std::shared_ptr<Watchdog> watchdog) {
    return make_nccl_group(
        *world_, everyone_, "vae",
        {.compute_stream = compute_.get(), .watchdog = std::move(watchdog), .timeout_s = 30});
  }

  static std::span<std::byte> bytes_of(const DeviceBuffer& buffer) {
    return {static_cast<std::byte*>(buffer.data()), buffer.bytes()};
  }
  static std::uint32_t* words_of(const DeviceBuffer& buffer) {
    return static_cast<std::uint32_t*>(buffer.data());
  }

  static constexpr std::size_t words_ = 100'000;

  MpiEnvironment environment_;
  std::unique_ptr<Communicator> world_ = make_mpi_world(environment_, {.timeout_s = 60});
  std::size_t ranks_ = static_cast<std::size_t>(world_->size());
  std::vector<int> everyone_ = std::vector<int>(ranks_);
  CudaStream compute_;
  DeviceBuffer send_{words_ * sizeof(std::uint32_t)};              ///< [words]
  DeviceBuffer receive_{words_ * sizeof(std::uint32_t) * ranks_};  ///< [ranks, words]
  DeviceBuffer counter_{sizeof(unsigned long long)};
};

// The data are computed after a kernel of a fifth of a second, and used after the wait. By then the host is
// long past both.
TEST_F(NcclGroupTest, IsOrderedWithTheComputeStreamAndNeverBlocksTheHost) {
  const auto group = make_group(test::gpu_job().watchdog());
  auto* mismatches = static_cast<unsigned long long*>(counter_.data());
  check(cudaMemsetAsync(mismatches, 0, counter_.bytes(), compute_.get()), "cudaMemsetAsync");
  group->all_gather(bytes_of(send_), bytes_of(receive_)).wait();  // connects the ranks
  check(cudaStreamSynchronize(compute_.get()), "cudaStreamSynchronize");

  const Stopwatch clock;
  check(test::keep_busy(1, 400'000'000, compute_.get()), "keep_busy");
  check(
      test::fill_pattern(words_of(send_), words_, static_cast<std::uint32_t>(group->rank()), compute_.get()),
      "fill_pattern");
  group->all_gather(bytes_of(send_), bytes_of(receive_)).wait();
  for (std::size_t rank = 0; rank < ranks_; ++rank) {
    check(test::count_mismatches(words_of(receive_) + rank * words_, words_, static_cast<std::uint32_t>(rank),
                                 mismatches, compute_.get()),
          "count_mismatches");
  }
  const double host_s = clock.elapsed_s();
  check(cudaStreamSynchronize(compute_.get()), "cudaStreamSynchronize");
  EXPECT_LT(host_s, clock.elapsed_s() / 2);

  unsigned long long counted = 1;
  check(cudaMemcpy(&counted, mismatches, sizeof counted, cudaMemcpyDeviceToHost), "cudaMemcpy");
  EXPECT_EQ(counted, 0u);
}

TEST_F(NcclGroupTest, ATicketLetGoByAnErrorMakesTheGroupUnusable) {
  {
    const auto group = make_group(test::gpu_job().watchdog());
    try {
      [[maybe_unused]] const Ticket ticket = group->all_gather(bytes_of(send_), bytes_of(receive_));
      throw std::runtime_error("an error while the collective is under way");
    } catch (const std::runtime_error&) {
      try {
        group->barrier().wait();
        ADD_FAILURE() << "the group went on";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("can no longer be used"));
      }
    }
  }
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  // A new group works.
  const auto group = make_group(test::gpu_job().watchdog());
  group->barrier().wait();
  check(cudaStreamSynchronize(compute_.get()), "cudaStreamSynchronize");
}

TEST_F(NcclGroupTest, RefusesToBeWithoutAWatchdog) {
  try {
    make_group(nullptr);
    ADD_FAILURE() << "a group was made";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("group 'vae' has no watchdog"));
  }
}

}  // namespace
}  // namespace wan::comm
