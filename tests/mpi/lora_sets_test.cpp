// Requests with different sets of LoRAs in one engine: the weights change between them, and every request has
// the bits of an engine that has its set alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lora/lora_set.h"
#include "mpi/engine_teams.h"
#include "unit/lora/lora_files.h"

namespace wan {
namespace {

using test::Backend;
using test::SharedFolder;
using test::Toy;

constexpr std::uint64_t plenty_bytes = std::uint64_t{1} << 30;

/// Three sets: none; one LoRA for both experts; that one with another strength, and a second one for the
/// high-noise expert that changes tensors without pairs, too.
class Sets {
 public:
  Sets(test::RankWorld& ranks, const Toy& toy) : folder_(ranks) {
    const auto config = engine::open_expert(toy.folder.experts.front().path).config;
    if (ranks.rank() == 0) {
      write("one", lora::test::pairs_of(config, 1));
      lora::test::PlainLora other = lora::test::pairs_of(config, 2);
      other.pairs.erase("blocks.0.self_attn.q");
      lora::test::add_differences(config, other);
      write("two", other);
    }
    ranks.world().barrier().wait();
    const lora::Lora one{.file = file("one"), .strength = 1.0 / 3};
    sets = {{}, {one}, {{.file = file("one"), .strength = 0.2}, {.file = file("two"), .strength = 0.1}}};
    sets[2][1].experts = LoraExperts::high_noise;
  }

  std::filesystem::path file(const char* name) const {
    return folder_ / fmt::format("{}.safetensors", name).c_str();
  }
  engine::LoraOptions options(std::uint64_t kept_bytes = plenty_bytes, int first = 0) const {
    return {.sets = sets, .first = first, .kept_bytes = kept_bytes};
  }

  std::vector<lora::LoraSet> sets;

 private:
  void write(const char* name, const lora::test::PlainLora& lora) const {
    lora::test::NumbersByName tensors;
    for (const auto& [module, pair] : lora.pairs) {
      tensors[module + ".lora_A.weight"] = pair.down;
      tensors[module + ".lora_B.weight"] = pair.up;
    }
    for (const auto& [tensor, numbers] : lora.differences) {
      const std::string_view ending = tensor.ends_with(".bias")        ? ".diff_b"
                                      : tensor.ends_with("modulation") ? ".diff_m"
                                                                       : ".diff";
      tensors[tensor.substr(0, tensor.rfind('.')).append(ending)] = numbers;
    }
    lora::test::write_numbers(file(name), tensors);
  }

  SharedFolder folder_;
};

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

Request with_set(Request request, int set) {
  request.lora_set = set;
  return request;
}

class LoraSets : public testing::Test {
 protected:
  LoraSets() { toy_.parity.request.frame_num = 5; }

  void SetUp() override {
    if (test::shapes_of(ranks_.size(), toy_.heads).empty()) GTEST_SKIP() << "no layout";
  }

  test::Made make(engine::WanEngine& engine, int set) {
    return test::make(engine, with_set(toy_.request(), set));
  }
  void expect_equal(const test::Made& made, const test::Made& expected) {
    if (ranks_.rank() != 0) return;
    EXPECT_TRUE(at::equal(made.latent, expected.latent));
    EXPECT_TRUE(at::equal(made.frames, expected.frames));
  }

  /// The requests of engines that have one set each.
  std::vector<test::Made> alone(const Sets& sets, const comm::GridShape& shape,
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
  const Sets sets(ranks_, toy_);
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
                               {.placement = placement, .loras = sets.options(plenty_bytes, first)},
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
  const Sets sets(ranks_, toy_);
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
  const Sets sets(ranks_, toy_);
  const comm::GridShape shape = test::shapes_of(ranks_.size(), toy_.heads).back();
  parallel::WeightPlacement placement = ranks_.size() > 1 ? test::all_sharded : parallel::WeightPlacement();
  const std::vector<test::Made> expected = alone(sets, shape, placement);
  placement.transformers.residence = parallel::Residence::takes_turns;
  engine::WanEngine engine(toy_.folder, {.placement = placement, .loras = sets.options()},
                           ranks_.communicators(shape, Backend::mpi, toy_.heads), clock_);
  for (const int set : {1, 2, 0, 1}) expect_equal(make(engine, set), expected[set]);
}

TEST_F(LoraSets, AChangeIsAPhaseWithItsBytes) {
  const Sets sets(ranks_, toy_);
  const SharedFolder out(ranks_);
  const comm::GridShape shape = test::shapes_of(ranks_.size(), toy_.heads).back();
  engine::WanEngine engine(toy_.folder, {.loras = sets.options()},
                           ranks_.communicators(shape, Backend::mpi, toy_.heads), clock_);
  test::NoControl control;
  std::map<int, std::uint64_t> bytes;
  for (const int set : {0, 0, 1, 1, 2}) {
    Phases phases;
    const RequestReport report =
        engine.run(with_set(toy_.request(), set), {.video = out / "video.mp4"}, phases, control, {});
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

/// A LoRA that breaks during a run fails its requests alone: on all ranks, and with its file's name.
TEST_F(LoraSets, ABrokenOneFailsItsRequestsAlone) {
  const Sets sets(ranks_, toy_);
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
