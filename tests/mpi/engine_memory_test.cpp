// Memory that runs out on one rank in the middle of a request, at any allocation: the others finish the
// collectives under way, all ranks hear of it, and the next request is as if nothing had happened.
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "mpi/engine_fixture.h"

namespace wan {
namespace {

using test::Backend;
using test::SharedFolder;
using test::Toy;

/// The CPU's memory, of which a certain allocation is refused.
class ScarceMemory final : public c10::Allocator {
 public:
  ScarceMemory() : real_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, priority); }
  ScarceMemory(const ScarceMemory&) = delete;
  ScarceMemory& operator=(const ScarceMemory&) = delete;
  ~ScarceMemory() override { c10::SetCPUAllocator(real_, priority); }

  c10::DataPtr allocate(std::size_t bytes) override {
    const std::int64_t number = is_counting_ ? allocations_++ : -1;
    TORCH_CHECK_WITH(OutOfMemoryError, number < 0 || number != refused_, "there is no memory, says the test");
    return real_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return real_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    real_->copy_data(to, from, bytes);
  }

  /// From now on allocations count, and the one of this number is refused; -1: none.
  void begin(std::int64_t refused) {
    allocations_ = 0;
    refused_ = refused;
    is_counting_ = true;
  }
  void end() { is_counting_ = false; }
  std::int64_t allocations() const { return allocations_; }

 private:
  static constexpr std::uint8_t priority = 100;
  c10::Allocator* real_;
  bool is_counting_ = false;
  std::int64_t allocations_ = 0;
  std::int64_t refused_ = -1;
};

/// Where memory runs out.
struct Shortage {
  std::string phase;
  int rank = 0;
  std::int64_t allocation = -1;  ///< of the phase; -1: none
};

/// An engine over all ranks, with memory that can run out on one of them.
class Scene {
 public:
  Scene(test::RankWorld& ranks, const Toy& toy, const comm::GridShape& shape,
        const engine::EngineOptions& options)
      : ranks_(ranks),
        toy_(toy),
        out_(ranks),
        engine_(toy.folder, options, ranks.communicators(shape, Backend::mpi, toy.heads), clock_) {
    engine_.set_phase_listener([this](const std::string& phase) {
      memory_.end();
      if (phase == shortage_.phase && ranks_.rank() == shortage_.rank) memory_.begin(shortage_.allocation);
    });
  }

  engine::WanEngine& engine() { return engine_; }

  /// Makes the request. The message if memory ran out.
  std::optional<std::string> run(const Shortage& shortage) {
    shortage_ = shortage;
    Request request = toy_.request();
    if (shortage.phase == "text")
      request.prompt += fmt::format(" {}", ++texts_);  // one that is not known yet
    test::SilentObserver observer;
    std::optional<std::string> message;
    try {
      engine_.run(request, {.video = out_ / "v.mp4", .state = out_ / "state"}, observer, control_, {});
    } catch (const MemoryError& error) {
      EXPECT_EQ(error.stage(), shortage.phase);
      message = error.what();
    }
    memory_.end();
    return message;
  }
  test::Made make() {
    shortage_ = {};
    return test::make(engine_, toy_.request());
  }
  /// Allocations of a phase on that rank, as all ranks know it.
  std::int64_t count(const std::string& phase, int rank) {
    EXPECT_FALSE(run({.phase = phase, .rank = rank}));
    std::int64_t allocations = ranks_.rank() == rank ? memory_.allocations() : 0;
    ranks_.world().all_reduce(std::span(&allocations, 1), comm::ReduceOp::max).wait();
    return allocations;
  }
  std::uint64_t gathered_bytes() const { return engine_.communicators().fsdp->traffic().total_sent_bytes(); }
  int steps_saved() const { return control_.steps_saved; }

 private:
  class Control final : public test::NoControl {
   public:
    void on_state(int steps_done) override { steps_saved = steps_done; }
    int steps_saved = 0;
  };

  test::RankWorld& ranks_;
  const Toy& toy_;
  const Stopwatch clock_;
  SharedFolder out_;
  ScarceMemory memory_;
  Shortage shortage_;
  Control control_;
  int texts_ = 0;
  engine::WanEngine engine_;
};

/// Numbers of a sequence to try, the first and last among them: about as many as WAN_TEST_ALLOCATIONS says.
std::vector<std::int64_t> some_of(std::int64_t count) {
  const char* wanted = std::getenv("WAN_TEST_ALLOCATIONS");  // NOLINT(concurrency-mt-unsafe)
  const std::int64_t samples = wanted != nullptr ? std::stoll(wanted) : 4;
  const std::int64_t stride = std::max<std::int64_t>(count / samples, 1);
  std::vector<std::int64_t> numbers;
  for (std::int64_t number = 0; number < count; number += stride) numbers.push_back(number);
  if (!numbers.empty() && numbers.back() != count - 1) numbers.push_back(count - 1);
  return numbers;
}

/// Lets memory run out in a phase, on a rank, at some of its allocations.
void run_out_in(const std::string& phase, int rank, Scene& scene) {
  const std::int64_t allocations = scene.count(phase, rank);
  EXPECT_GT(allocations, 0) << phase;
  std::int64_t survived = 0;  // the tensor library sometimes knows another way
  const std::vector<std::int64_t> refused = some_of(allocations);
  for (const std::int64_t allocation : refused) {
    const auto message = scene.run({.phase = phase, .rank = rank, .allocation = allocation});
    if (!message) {
      ++survived;
      continue;
    }
    EXPECT_NE(message->find(fmt::format("rank {} has too little memory", rank)), std::string::npos)
        << phase << ", allocation " << allocation << " of " << allocations << ": " << *message;
  }
  EXPECT_LE(survived * 5, std::ssize(refused)) << phase;
}

void run_out_in_every_phase(test::RankWorld& ranks, const Toy& toy, const comm::GridShape& shape,
                            const engine::EngineOptions& options) {
  SCOPED_TRACE(fmt::format("{}, {}", parallel::describe(shape), options.dit_fsdp ? "sharded" : "whole"));
  Scene scene(ranks, toy, shape, options);
  const test::Made expected = scene.make();
  for (const char* phase : {"text", "encode", "denoise", "decode"}) {
    if (std::string_view(phase) == "encode" && toy.request().image.empty()) continue;
    for (int rank = 0; rank < ranks.size(); rank += std::max(ranks.size() - 1, 1)) {
      run_out_in(phase, rank, scene);
    }
    const test::Made made = scene.make();
    if (ranks.rank() != 0) continue;
    EXPECT_TRUE(at::equal(made.latent, expected.latent)) << phase;
    EXPECT_TRUE(at::equal(made.frames, expected.frames)) << phase;
  }
}

class Cases : public testing::TestWithParam<const char*> {};

TEST_P(Cases, MemoryThatRunsOutAnywhereFailsTheRequestOnAllRanksAndNothingElse) {
  test::RankWorld ranks;
  const Toy toy(GetParam(), 2);
  const std::vector<comm::GridShape> shapes = test::shapes_of(ranks.size(), toy.heads);
  if (shapes.empty()) GTEST_SKIP() << toy.heads << " heads over " << ranks.size() << " ranks";
  for (const comm::GridShape& shape : shapes) {
    const std::int64_t own_heads = toy.heads / shape.ulysses;
    std::vector<std::int64_t> chunks{own_heads};
    if (own_heads > 1) chunks = {1, own_heads - 1};
    run_out_in_every_phase(ranks, toy, shape,
                           {.dit_fsdp = true, .t5_fsdp = true, .head_chunks = {.sizes = chunks}});
  }
  run_out_in_every_phase(ranks, toy, shapes.front(), {});
}

INSTANTIATE_TEST_SUITE_P(Reference, Cases,
                         testing::Values("i2v_landscape", "i2v_portrait_ragged", "t2v_square"));

/// What runs out in the decoder is not to cost the steps.
TEST(MemoryThatRunsOutWhileDecoding, LeavesAStateAfterTheLastStep) {
  test::RankWorld ranks;
  const Toy toy("t2v_square");
  Scene scene(ranks, toy, {.group_size = ranks.size(), .cfg = 1, .ulysses = 1}, {});
  ASSERT_TRUE(scene.run({.phase = "decode", .rank = ranks.size() - 1, .allocation = 3}));
  if (ranks.rank() == 0) {
    EXPECT_EQ(scene.steps_saved(), toy.request().sample_steps);
  }
}

TEST(ALeanerEngine, SplitsTheWeightsAndGivesTheSameBits) {
  test::RankWorld ranks;
  const Toy toy("i2v_landscape");
  Scene scene(ranks, toy, {.group_size = ranks.size(), .cfg = 1, .ulysses = 1}, {});
  const test::Made before = scene.make();
  const std::uint64_t sent = scene.gathered_bytes();
  const std::string what = scene.engine().make_leaner();
  if (ranks.size() == 1) {
    EXPECT_EQ(what, "");
    return;
  }
  EXPECT_EQ(what, "weights split over the group's ranks");
  const test::Made after = scene.make();
  EXPECT_GT(scene.gathered_bytes(), sent);
  EXPECT_EQ(scene.engine().make_leaner(), "");  // on CPUs there is nothing else
  if (ranks.rank() != 0) return;
  EXPECT_TRUE(at::equal(after.latent, before.latent));
  EXPECT_TRUE(at::equal(after.frames, before.frames));
}

TEST(ALeanerEngine, DoesNothingThatItMayNot) {
  test::RankWorld ranks;
  const Toy toy("t2v_square");
  Scene scene(ranks, toy, {.group_size = ranks.size(), .cfg = 1, .ulysses = 1},
              {.leaner = {.shard = false, .shard_text = false}});
  EXPECT_EQ(scene.engine().make_leaner(), "");
}

}  // namespace
}  // namespace wan
