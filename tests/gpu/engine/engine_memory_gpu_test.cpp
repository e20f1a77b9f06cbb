// GPU memory runs out on one rank in each phase of a request and within a step. All ranks receive the error,
// and the memory is free again. The next request must have the same result as without the shortage.
#include <ATen/ATen.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "gpu/engine/gpu_ranks.h"
#include "gpu/memory.h"
#include "support/plain_picture.h"

namespace wan {
namespace {

using test::GpuRanks;

/// Lets the tensor library's next allocation on this rank's GPU fail, as if another program had taken the
/// memory.
class ScarceGpuMemory {
 public:
  explicit ScarceGpuMemory(c10::DeviceIndex device) : device_(device) {
    take_little();                    // otherwise the allocator does not exist yet and cannot have observers
    static bool is_attached = false;  // stays true, because observers cannot be removed
    if (std::exchange(is_attached, true)) return;
    c10::cuda::CUDACachingAllocator::attachOutOfMemoryObserver(
        [](std::int64_t index, std::size_t, std::size_t, std::size_t) {
          c10::cuda::CUDACachingAllocator::setMemoryFraction(1.0, static_cast<c10::DeviceIndex>(index));
        });
  }

  void run_out() {
    c10::cuda::CUDACachingAllocator::emptyCache();
    fill_gaps();
    c10::cuda::CUDACachingAllocator::emptyCache();
    c10::cuda::CUDACachingAllocator::setMemoryFraction(0.0, device_);
  }
  void end() {
    c10::cuda::CUDACachingAllocator::setMemoryFraction(1.0, device_);
    filler_.clear();
  }

 private:
  /// Fills the gaps in segments that are in use, up to the first allocation that needs a new segment.
  void fill_gaps() {
    c10::cuda::CUDACachingAllocator::setMemoryFraction(0.0, device_);
    try {
      while (true) filler_.push_back(take_little());
    } catch (const c10::OutOfMemoryError&) {
      ASSERT_GT(take_little().numel(), 0) << "the observer makes one allocation fail, not all";
    }
  }

  at::Tensor take_little() const {
    constexpr std::int64_t least_bytes = 512;
    return at::empty({least_bytes}, at::TensorOptions(at::Device(at::kCUDA, device_)).dtype(at::kByte));
  }

  c10::DeviceIndex device_;
  std::vector<at::Tensor> filler_;
};

/// The place at which memory runs out: the beginning of a phase, or a step.
struct Shortage {
  std::string phase;
  int steps_done = -1;
  int rank = -1;
};

parallel::WeightPlacement placement(bool sharded) {
  const auto division = sharded ? parallel::Division::sharded : parallel::Division::whole;
  return {.transformers = {division}, .text_encoder = {division, parallel::Residence::read_when_needed}};
}

class Scene final : private test::NoControl {
 public:
  Scene(GpuRanks& ranks, const test::ParityCase& parity, const comm::GridShape& shape, std::int64_t heads,
        bool sharded)
      : ranks_(ranks),
        parity_(parity),
        device_(ranks.device(launch::Precision::bf16)),
        communicators_(ranks.communicators(device_)),
        memory_(device_.compute.device.index()),
        engine_(checkpoint::inspect_checkpoint(parity.folder / "ckpt"),
                {.placement = placement(sharded), .compute = device_.compute, .gpu = device_.gpu},
                communicators_->make_group(
                    {.guided = shape, .unguided = parallel::unguided_shape(shape, {}, heads)}, 60),
                clock_) {
    engine_.set_phase_listener([this](const std::string& phase) {
      if (shortage_.rank == ranks_.rank() && shortage_.steps_done < 0 && phase == shortage_.phase)
        memory_.run_out();
    });
  }

  engine::WanEngine& engine() { return engine_; }
  test::Made make() {
    shortage_ = {};
    return test::make(engine_, parity_.request);
  }
  /// Makes another request. Returns whether memory ran out.
  bool fails(const Shortage& shortage) {
    shortage_ = shortage;
    Request request = parity_.request;
    request.prompt += fmt::format(" {}", ++requests_);  // a text whose embedding is not known yet
    const test::TempDir folder;
    if (shortage.phase == "encode") {  // an image that is not known yet
      request.image = folder / "picture.bmp";
      test::write_picture(request.image, {.width = 96, .height = 64}, static_cast<std::uint32_t>(requests_));
    }
    test::SilentObserver observer;
    bool failed = false;
    try {
      engine_.run(request, {.video = folder / "v.mp4"}, observer, *this, {});
    } catch (const MemoryError& error) {
      EXPECT_EQ(error.stage(), shortage.phase);
      EXPECT_NE(std::string(error.what()).find(fmt::format("GPU of rank {}", shortage.rank)),
                std::string::npos)
          << error.what();
      failed = true;
    } catch (const std::exception& error) {
      // Printed at once, because the stack unwinding after this may wait for the other ranks.
      fmt::print(stderr, "rank {}, {} {}: {}\n", ranks_.rank(), shortage.phase, shortage.steps_done,
                 error.what());
      throw;
    }
    memory_.end();
    return failed;
  }
  std::uint64_t used_bytes() const {
    gpu::release_unused();
    return gpu::used_bytes();
  }

 private:
  StepAction next_action(int steps_done, int /*step_count*/) override {
    if (shortage_.rank == ranks_.rank() && steps_done == shortage_.steps_done) memory_.run_out();
    return StepAction::go_on;
  }

  GpuRanks& ranks_;
  const test::ParityCase& parity_;
  const Stopwatch clock_;
  launch::RunDevice device_;
  std::unique_ptr<launch::RunCommunicators> communicators_;
  ScarceGpuMemory memory_;
  Shortage shortage_;
  int requests_ = 0;
  engine::WanEngine engine_;
};

struct Toy {
  test::ParityCase parity = test::load_parity_case("i2v_landscape");
  std::int64_t heads =
      engine::open_expert(checkpoint::inspect_checkpoint(parity.folder / "ckpt").experts.front().path)
          .config.num_heads;
};

void run_out_everywhere(GpuRanks& ranks, const Toy& toy, const comm::GridShape& shape, bool sharded) {
  SCOPED_TRACE(parallel::describe(shape) + (sharded ? ", sharded" : ", whole"));
  Scene scene(ranks, toy.parity, shape, toy.heads, sharded);
  const test::Made expected = scene.make();
  const std::uint64_t used_before = scene.used_bytes();
  for (int rank = 0; rank < ranks.size(); ++rank) {
    for (const Shortage& shortage : {Shortage{"text"}, Shortage{"encode"}, Shortage{"denoise"},
                                     Shortage{"denoise", 1}, Shortage{"decode"}}) {
      EXPECT_TRUE(scene.fails({shortage.phase, shortage.steps_done, rank}))
          << shortage.phase << " " << shortage.steps_done << ", rank " << rank;
    }
    const test::Made made = scene.make();
    const auto used = static_cast<double>(scene.used_bytes());
    EXPECT_NEAR(used, static_cast<double>(used_before), 0.01 * static_cast<double>(used_before));
    if (ranks.rank() != 0) continue;
    EXPECT_TRUE(at::equal(made.latent, expected.latent));
    EXPECT_TRUE(at::equal(made.frames, expected.frames));
  }
}

TEST(GpuMemory, ThatRunsOutAnywhereFailsTheRequestOnAllRanksAndNothingElse) {
  if (!GpuRanks::enough()) GTEST_SKIP() << "this test needs a GPU per rank";
  GpuRanks ranks;
  const Toy toy;
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), toy.heads)) {
    for (const bool sharded : {false, true}) {
      if (!sharded || ranks.size() > 1) run_out_everywhere(ranks, toy, shape, sharded);
    }
  }
}

TEST(GpuMemory, ALeanerEngineTakesLessOfItAndGivesTheSameBits) {
  if (!GpuRanks::enough()) GTEST_SKIP() << "this test needs a GPU per rank";
  GpuRanks ranks;
  const Toy toy;
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).front();
  Scene scene(ranks, toy.parity, shape, toy.heads, false);
  const test::Made expected = scene.make();
  std::vector<std::string> changes;
  if (ranks.size() > 1) changes.emplace_back("weights split over the group's ranks");
  changes.emplace_back("the expert not in use kept in host memory");
  for (const std::string& change : changes) {
    EXPECT_EQ(scene.engine().make_leaner(), change);
    const test::Made made = scene.make();
    if (ranks.rank() != 0) continue;
    EXPECT_TRUE(at::equal(made.latent, expected.latent)) << change;
    EXPECT_TRUE(at::equal(made.frames, expected.frames)) << change;
  }
  EXPECT_EQ(scene.engine().make_leaner(), "");
}

}  // namespace
}  // namespace wan
