// Requests with different sets of LoRAs in one engine: the weights change between them, and every request has
// the bits of an engine that has its set alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpi/engine_teams.h"
#include "mpi/lora_set_files.h"

namespace wan {
namespace {

using test::Backend;
using test::LoraSetFiles;
using test::SharedFolder;
using test::Toy;

/// Counts the phases, and the bytes of the last "lora" one on the leader.
class Phases final : public Observer {
 public:
  void on_phase(const PhaseEvent& event) override {
    ++counts[event.phase];
    if (event.phase == "lora") merged_bytes = event.merged_bytes;
  }
  void on_step(const StepEvent& /*event*/) override {}

  std::map<std::string, int> counts;
  std::uint64_t merged_bytes = 0;
};

class LoraSets : public testing::Test {
 protected:
  LoraSets() { toy_.parity.request.frame_num = 5; }

  void SetUp() override {
    if (test::shapes_of(ranks_.size(), toy_.heads).empty()) GTEST_SKIP() << "no layout";
  }

  test::Made make(engine::WanEngine& engine, int set) {
    return test::make(engine, test::with_set(toy_.request(), set));
  }
  void expect_equal(const test::Made& made, const test::Made& expected) {
    if (ranks_.rank() != 0) return;
    EXPECT_TRUE(at::equal(made.latent, expected.latent));
    EXPECT_TRUE(at::equal(made.frames, expected.frames));
  }

  /// The requests of engines that have one set each.
  std::vector<test::Made> alone(const LoraSetFiles& sets, const comm::GridShape& shape,
                                const parallel::WeightPlacement& placement) {
    std::vector<test::Made> made;
    for (const lora::LoraSet& set : sets.sets) {
      engine::WanEngine engine(toy_.folder, {.placement = placement, .loras = {.sets = {set}}},
                               ranks_.communicators(shape, Backend::mpi, toy_.heads), clock_);
      made.push_back(test::make(engine, toy_.request()));
    }
    return made;
  }

  test::RankWorld ranks_;
  Toy toy_{"i2v_landscape", 4};
  const Stopwatch clock_;
};

TEST_F(LoraSets, HaveTheBitsOfARunOfTheirOwnInAnyOrder) {
  const LoraSetFiles sets(ranks_, toy_);
  for (const comm::GridShape& shape : test::shapes_of(ranks_.size(), toy_.heads)) {
    for (const bool is_sharded : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, sharded {}", parallel::describe(shape), is_sharded));
      const parallel::WeightPlacement placement =
          is_sharded ? test::all_sharded : parallel::WeightPlacement();
      const std::vector<test::Made> expected = alone(sets, shape, placement);
      if (ranks_.rank() == 0) {
        EXPECT_FALSE(at::equal(expected[0].latent, expected[1].latent));
        EXPECT_FALSE(at::equal(expected[1].latent, expected[2].latent));
      }
      // Each change between two sets, in one of the two orders at least.
      const int first = is_sharded ? 0 : 2;
      engine::WanEngine engine(toy_.folder,
                               {.placement = placement, .loras = sets.options(test::plenty_bytes, first)},
                               ranks_.communicators(shape, Backend::mpi, toy_.heads), clock_);
      const std::uint64_t read = engine.expert_bytes_read();
      EXPECT_GT(read, 0U);
      for (const int set : is_sharded ? std::vector{1, 2, 0, 1} : std::vector{2, 1, 0, 2})
        expect_equal(make(engine, set), expected[set]);
      EXPECT_EQ(engine.expert_bytes_read(), read) << "the checkpoint is read once";
    }
  }
}

/// Without room on the host the files are read again, with the same bits.
TEST_F(LoraSets, AreReadAgainWithoutRoomOnTheHost) {
  const LoraSetFiles sets(ranks_, toy_);
  const comm::GridShape shape = test::shapes_of(ranks_.size(), toy_.heads).back();
  const std::vector<test::Made> expected = alone(sets, shape, test::all_sharded);
  for (const std::uint64_t kept_bytes : {std::uint64_t{0}, std::uint64_t{100'000}}) {
    engine::WanEngine engine(toy_.folder, {.placement = test::all_sharded, .loras = sets.options(kept_bytes)},
                             ranks_.communicators(shape, Backend::mpi, toy_.heads), clock_);
    const std::uint64_t read = engine.expert_bytes_read();
    for (const int set : {2, 0, 1}) expect_equal(make(engine, set), expected[set]);
    EXPECT_GT(engine.expert_bytes_read(), read);
  }
}

/// Experts that take turns, of which a set changes one or both.
TEST_F(LoraSets, ChangeWithExpertsThatTakeTurns) {
  const LoraSetFiles sets(ranks_, toy_);
  const comm::GridShape shape = test::shapes_of(ranks_.size(), toy_.heads).back();
  parallel::WeightPlacement placement = ranks_.size() > 1 ? test::all_sharded : parallel::WeightPlacement();
  const std::vector<test::Made> expected = alone(sets, shape, placement);
  placement.transformers.residence = parallel::Residence::takes_turns;
  engine::WanEngine engine(toy_.folder, {.placement = placement, .loras = sets.options()},
                           ranks_.communicators(shape, Backend::mpi, toy_.heads), clock_);
  for (const int set : {1, 2, 0, 1}) expect_equal(make(engine, set), expected[set]);
}

TEST_F(LoraSets, AChangeIsAPhaseWithItsBytes) {
  const LoraSetFiles sets(ranks_, toy_);
  const SharedFolder out(ranks_);
  const comm::GridShape shape = test::shapes_of(ranks_.size(), toy_.heads).back();
  engine::WanEngine engine(toy_.folder, {.loras = sets.options()},
                           ranks_.communicators(shape, Backend::mpi, toy_.heads), clock_);
  test::NoControl control;
  std::map<int, std::uint64_t> bytes;
  for (const int set : {0, 0, 1, 1, 2}) {
    Phases phases;
    const RequestReport report =
        engine.run(test::with_set(toy_.request(), set), {.video = out / "video.mp4"}, phases, control, {});
    if (ranks_.rank() != 0) continue;
    const bool changes = !bytes.contains(set) && set > 0;
    EXPECT_EQ(phases.counts["lora"], changes ? 1 : 0) << set;
    EXPECT_EQ(report.phase_s.contains("lora"), changes);
    bytes.try_emplace(set, phases.merged_bytes);
  }
  if (ranks_.rank() != 0) return;
  EXPECT_EQ(bytes[0], 0U);
  EXPECT_GT(bytes[1], 0U);
  EXPECT_GE(bytes[2], bytes[1]) << "both sets change all matrices of both experts";
}

/// Groups whose weights have different sets change them together when they join.
TEST_F(LoraSets, ChangeInGroupsThatJoin) {
  if (ranks_.size() % 2 != 0) GTEST_SKIP() << "two groups";
  const LoraSetFiles sets(ranks_, toy_);
  const SharedFolder out(ranks_);
  const int group_size = ranks_.size() / 2;
  const comm::GridShape shape = test::shapes_of(group_size, toy_.heads).back();
  const int group = ranks_.rank() / group_size;
  const OutputPaths outputs{.video = out / "video.mp4", .latents = out / "latent.safetensors"};
  test::SilentObserver observer;
  test::NoControl control;
  const auto join = [&](test::Teams& teams, int set, int leader) {
    if (group == leader) {  // begins alone
      test::ScriptedControl alone({{1, StepAction::hand_over}});
      const RequestReport report =
          teams.engine().run(test::with_set(toy_.request(), set), outputs, observer, alone, {});
      EXPECT_EQ(report.end, RunEnd::handed_over);
    }
    ranks_.world().barrier().wait();
    teams.engine().run(test::with_set(toy_.request(), set), outputs, observer, control,
                       {.width = 2, .leader = leader});
    ranks_.world().barrier().wait();
    test::Made made = ranks_.rank() == 0 ? test::read_outputs(outputs) : test::Made();
    ranks_.world().barrier().wait();
    return made;
  };
  std::vector<test::Made> expected;
  std::vector<test::Made> of_group;  // on its leader
  for (const lora::LoraSet& set : sets.sets) {
    test::Teams teams(ranks_, toy_, shape, {.loras = {.sets = {set}}});
    expected.push_back(join(teams, 0, 0));
    of_group.push_back(test::make(teams.engine(), toy_.request()));
  }
  test::Teams teams(ranks_, toy_, shape, {.loras = sets.options(test::plenty_bytes, /*first=*/group + 1)});
  for (const auto& [set, leader] : {std::pair(2, 0), {1, 1}, {0, 0}}) {
    SCOPED_TRACE(set);
    expect_equal(join(teams, set, leader), expected[static_cast<std::size_t>(set)]);
    const int own = (set + group) % 3;  // each group alone, with a set of its own
    const test::Made made = make(teams.engine(), own);
    if (ranks_.rank() % group_size != 0) continue;
    EXPECT_TRUE(at::equal(made.latent, of_group[static_cast<std::size_t>(own)].latent));
    EXPECT_TRUE(at::equal(made.frames, of_group[static_cast<std::size_t>(own)].frames));
  }
}

/// A LoRA that breaks during a run fails its requests alone: on all ranks, and with its file's name.
TEST_F(LoraSets, ABrokenOneFailsItsRequestsAlone) {
  const LoraSetFiles sets(ranks_, toy_);
  const comm::GridShape shape = test::shapes_of(ranks_.size(), toy_.heads).back();
  engine::WanEngine engine(toy_.folder, {.placement = test::all_sharded, .loras = sets.options()},
                           ranks_.communicators(shape, Backend::mpi, toy_.heads), clock_);
  const test::Made before = make(engine, 0);
  const std::filesystem::path two = sets.file("two");
  if (ranks_.rank() == 0) std::filesystem::rename(two, two.string() + ".away");
  ranks_.world().barrier().wait();
  const auto message = [&] {
    try {
      make(engine, 2);
    } catch (const ItemError& error) {
      return fmt::format("{}: {}", error.stage(), error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message(), testing::StartsWith("lora: "));
  EXPECT_THAT(message(), testing::HasSubstr("two.safetensors"));
  expect_equal(make(engine, 0), before);
  if (ranks_.rank() == 0) std::filesystem::rename(two.string() + ".away", two);
  ranks_.world().barrier().wait();
  EXPECT_EQ(message(), "no error");
  expect_equal(make(engine, 0), before);
}

}  // namespace
}  // namespace wan
