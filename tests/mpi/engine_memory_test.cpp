// Memory runs out on one rank in the middle of a request, at any allocation. The others finish the current
// collectives, and all ranks receive the error. The next request must have the same result as without the
// shortage.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "mpi/engine_teams.h"
#include "mpi/scarce_memory.h"
#include "support/plain_picture.h"

namespace wan {
namespace {

using test::Backend;
using test::ScarceMemory;
using test::SharedFolder;
using test::Toy;

/// The place at which memory runs out.
struct Shortage {
  std::string phase;
  int rank = 0;
  std::int64_t allocation = -1;  ///< number of the allocation in the phase; -1: none
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

  /// Makes the request. Returns the message if memory ran out.
  std::optional<std::string> run(const Shortage& shortage) {
    shortage_ = shortage;
    Request request = toy_.request();
    if (shortage.phase == "text")
      request.prompt += fmt::format(" {}", ++texts_);  // a text that the engine does not know yet
    if (shortage.phase == "encode") {                  // an image that it does not know yet
      request.image = out_ / "picture.bmp";
      if (ranks_.rank() == 0) test::write_picture(request.image, {.width = 96, .height = 64}, ++pictures_);
    }
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
  /// Number of allocations of a phase on `rank`, known to all ranks.
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
  std::uint32_t pictures_ = 0;
  engine::WanEngine engine_;
};

/// Some numbers of a sequence, with the first and the last: about as many as WAN_TEST_ALLOCATIONS says.
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
  std::int64_t survived = 0;  // the tensor library sometimes finds another way
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
  SCOPED_TRACE(fmt::format("{}, {}", parallel::describe(shape),
                           parallel::describe_transformers(options.placement.transformers)));
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
    const std::int64_t own_heads = (toy.heads + shape.ulysses - 1) / shape.ulysses;  // of the first rank
    std::vector<std::int64_t> chunks{own_heads};
    if (own_heads > 2 || (own_heads == 2 && toy.heads % shape.ulysses == 0)) chunks = {1, own_heads - 1};
    run_out_in_every_phase(ranks, toy, shape,
                           {.placement = test::all_sharded, .head_chunks = {.sizes = chunks}});
  }
  run_out_in_every_phase(ranks, toy, shapes.front(), {});
}

INSTANTIATE_TEST_SUITE_P(Reference, Cases,
                         testing::Values("i2v_landscape", "i2v_portrait_ragged", "t2v_square", "wan21_i2v",
                                         "ti2v_image"));

/// The ranks are divided anew between the two steps, of which one has guidance.
TEST(GuidanceInOneExpert, MemoryThatRunsOutAnywhereFailsTheRequestOnAllRanksAndNothingElse) {
  test::RankWorld ranks;
  Toy toy("i2v_landscape", 2);
  toy.parity.request.guide_scale = {.low_noise = 1, .high_noise = 3.5};
  const std::vector<comm::GridShape> shapes = test::shapes_of(ranks.size(), toy.heads);
  if (shapes.empty()) GTEST_SKIP() << toy.heads << " heads over " << ranks.size() << " ranks";
  Scene scene(ranks, toy, shapes.back(), {.placement = test::all_sharded});
  const test::Made expected = scene.make();
  for (int rank = 0; rank < ranks.size(); rank += std::max(ranks.size() - 1, 1)) {
    run_out_in("denoise", rank, scene);
    const test::Made made = scene.make();
    if (ranks.rank() != 0) continue;
    EXPECT_TRUE(at::equal(made.latent, expected.latent));
    EXPECT_TRUE(at::equal(made.frames, expected.frames));
  }
}

/// Two groups. The second helps the first from step 2 on, with memory that can run out on its last rank.
class TeamScene {
 public:
  TeamScene(test::RankWorld& ranks, const Toy& toy)
      : ranks_(ranks),
        toy_(toy),
        out_(ranks),
        teams_(ranks, toy, {.group_size = ranks.size() / 2, .cfg = 1, .ulysses = ranks.size() / 2},
               {.placement = test::all_sharded}) {
    teams_.engine().set_phase_listener([this](const std::string& phase) {
      memory_.end();
      if (phase == phase_ && ranks_.rank() + 1 == ranks_.size()) memory_.begin(refused_);
    });
  }

  /// Number of the phase's allocations at which memory can run out, known to all ranks; -1 if it ran out.
  std::int64_t run(const std::string& phase, std::int64_t refused) {
    phase_.clear();
    // The ranks of one group agree, because any of them may ask for it.
    if (ranks_.rank() < ranks_.size() / 2) {
      test::ScriptedControl control({{2, StepAction::hand_over}});
      EXPECT_EQ(teams_.run(outputs(), control, {}).end, RunEnd::handed_over);
    }
    phase_ = phase;
    refused_ = refused;
    bool ran_out = false;
    try {
      test::NoControl control;
      teams_.run(outputs(), control, {.width = 2, .leader = 0});
    } catch (const MemoryError& error) {
      EXPECT_EQ(error.stage(), phase);
      EXPECT_NE(std::string(error.what()).find(fmt::format("rank {}", ranks_.size() - 1)), std::string::npos)
          << error.what();
      ran_out = true;
    }
    memory_.end();
    std::array<std::int64_t, 2> said{memory_.allocations(), ran_out ? 1 : 0};
    ranks_.world().all_reduce(std::span<std::int64_t>(said), comm::ReduceOp::max).wait();
    EXPECT_EQ(ran_out, said[1] == 1);
    return ran_out ? -1 : said[0];
  }
  test::Made made() const { return test::read_outputs(outputs()); }
  test::Made make_without_team() {
    phase_.clear();
    return test::make(teams_.engine(), toy_.request());
  }

 private:
  OutputPaths outputs() const { return {.video = out_ / "v.mp4", .latents = out_ / "latent"}; }

  test::RankWorld& ranks_;
  const Toy& toy_;
  SharedFolder out_;
  ScarceMemory memory_;
  std::string phase_;
  std::int64_t refused_ = -1;
  test::Teams teams_;
};

TEST(MemoryThatRunsOutInATeam, FailsTheRequestInAllItsGroupsAndNothingElse) {
  test::RankWorld ranks;
  if (ranks.size() != 2 && ranks.size() != 4) GTEST_SKIP() << "two groups of 1 and 2 ranks";
  const Toy toy("i2v_landscape");
  TeamScene scene(ranks, toy);
  const test::Made alone = scene.make_without_team();
  ASSERT_GE(scene.run("", -1), 0);
  const test::Made together = ranks.rank() == 0 ? scene.made() : test::Made();
  for (const char* phase : {"denoise", "decode"}) {
    const std::int64_t allocations = scene.run(phase, -1);
    ASSERT_GT(allocations, 0) << phase;
    const std::vector<std::int64_t> refused = some_of(allocations);
    std::int64_t survived = 0;  // the tensor library sometimes finds another way
    for (const std::int64_t allocation : refused) {
      if (scene.run(phase, allocation) >= 0) ++survived;
    }
    EXPECT_LE(survived * 5, std::ssize(refused)) << phase;
  }
  const test::Made later = scene.make_without_team();
  ASSERT_GE(scene.run("", -1), 0);
  if (ranks.rank() != 0) return;
  EXPECT_TRUE(at::equal(later.latent, alone.latent));
  EXPECT_TRUE(at::equal(later.frames, alone.frames));
  const test::Made later_together = scene.made();
  EXPECT_TRUE(at::equal(later_together.latent, together.latent));
  EXPECT_TRUE(at::equal(later_together.frames, together.frames));
}

/// A shortage in the decoder must not cost the finished steps.
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
  EXPECT_EQ(scene.engine().make_leaner(), "");  // on CPUs nothing else can be reduced
  if (ranks.rank() != 0) return;
  EXPECT_TRUE(at::equal(after.latent, before.latent));
  EXPECT_TRUE(at::equal(after.frames, before.frames));
}

TEST(ALeanerEngine, DoesNothingThatItMayNot) {
  test::RankWorld ranks;
  const Toy toy("t2v_square");
  Scene scene(ranks, toy, {.group_size = ranks.size(), .cfg = 1, .ulysses = 1}, {.leaner = {.leanest = {}}});
  EXPECT_EQ(scene.engine().make_leaner(), "");
}

}  // namespace
}  // namespace wan
