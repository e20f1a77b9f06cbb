// Rows with different LoRAs: in which order a group makes them, and what records say of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "batch/item_queue.h"
#include "batch/runner.h"
#include "stub_group.h"
#include "support/temp_dir.h"

namespace wan::batch {
namespace {

using test::context_for;
using test::rows_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Rows "a", "b", ... with these sets of LoRAs.
std::vector<manifest::ManifestRow> rows_with(const std::vector<int>& sets) {
  std::string csv = "id,prompt\n";
  for (std::size_t i = 0; i < sets.size(); ++i)
    csv += fmt::format("{0},prompt of {0}\n", static_cast<char>('a' + static_cast<int>(i)));
  auto rows = rows_of(csv);
  for (std::size_t i = 0; i < sets.size(); ++i) rows[i].lora_set = sets[i];
  return rows;
}

class LoraRows : public ::testing::Test {
 protected:
  struct Done {
    RunCounts all;
    std::vector<std::string> started;
    std::vector<int> sets;  ///< of the engine's runs, each one that follows another
    std::vector<Expert> experts;
  };

  Done run(const std::vector<manifest::ManifestRow>& rows,
           const std::function<void(RunContext&)>& change = {}, const std::string& name = "run-1") {
    RunContext context = context_for(out_, name);
    context.requests.command_line.sample_steps = 4;
    for (int set = 0; set < 4; ++set) {
      const std::string text = fmt::format("{}{}", set, version_);
      context.requests.lora_sets.push_back(
          {.identity = {{.sha256 = text, .strength = 0.5, .experts = "both"}},
           .files = {"/loras/" + text},
           .options = {"--lora", "/loras/" + text}});
    }
    if (change) change(context);
    test::StubEngine engine;
    engine.on_step = on_step_;
    test::AloneGroup group;
    test::Recorder recorder;
    TeamLetters teams;
    const GroupCounts counts = run_group(engine, group, rows, context, recorder, teams);
    Done done{.all = finish_run(group, counts, rows, context, engine.task()).counts,
              .started = recorder.started,
              .sets = {},
              .experts = engine.experts};
    for (const Request& request : engine.runs)
      if (done.sets.empty() || done.sets.back() != request.lora_set) done.sets.push_back(request.lora_set);
    return done;
  }
  nlohmann::json record(const std::string& id) const {
    return nlohmann::json::parse(std::ifstream(out_ / (id + ".json")));
  }

  wan::test::TempDir dir_;
  std::filesystem::path out_ = dir_ / "out";
  std::function<void(const Request&, int step)> on_step_;
  std::string version_;
};

TEST_F(LoraRows, RowsWithTheSameOnesFollowEachOther) {
  const Done done = run(rows_with({0, 2, 1, 0, 1, 2, 2, 0}));
  EXPECT_THAT(done.started, ElementsAre("a", "d", "h", "b", "f", "g", "c", "e"))
      << "those that the weights have, then the most wanted ones; each in the manifest's order";
  EXPECT_THAT(done.sets, ElementsAre(0, 2, 1));
  EXPECT_EQ(done.all.made, 8);
}

TEST_F(LoraRows, AGroupBeginsWithThoseThatItHasLoaded) {
  const Done done =
      run(rows_with({0, 0, 0, 1}), [](RunContext& context) { context.requests.first_lora_set = 1; });
  EXPECT_THAT(done.started, ElementsAre("d", "a", "b", "c"));
}

TEST_F(LoraRows, OneSetKeepsTheManifestsOrder) {
  EXPECT_THAT(run(rows_with({0, 0, 0})).started, ElementsAre("a", "b", "c"));
}

TEST_F(LoraRows, AFaultyRowChangesNothing) {
  auto rows = rows_with({0, 1, 1, 0});
  rows[1].error = "rows.csv:3:4: lora: no such file";
  const Done done = run(rows);
  EXPECT_THAT(done.sets, ElementsAre(0, 1));
  EXPECT_EQ(done.all.made, 3);
  EXPECT_EQ(done.all.failed, 1);
}

/// Two groups with sets of their own meet in the third set.
TEST_F(LoraRows, GroupsTakeDifferentOnesWhilePossible) {
  const auto rows = rows_with({0, 1, 2, 0, 1, 2, 2, 2});
  const RunContext first = context_for(out_);
  RunContext second = context_for(out_);
  second.requests.first_lora_set = 1;
  second.place = {.group_index = 1, .group_count = 2};
  const Task task = test::StubEngine().task();
  const auto owner = [&] { return store::ClaimOwner::this_process("run-1", ""); };
  store::Claims claims_1(first.folder.claims(), owner(), first.timing);
  store::Claims claims_2(first.folder.claims(), owner(), first.timing);
  ItemQueue queue_1(rows, first, task, claims_1);
  ItemQueue queue_2(rows, second, task, claims_2);
  std::vector<ClaimedRow> held;
  std::string order;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto row = (i % 2 == 0 ? queue_1 : queue_2).next([] { return false; });
    ASSERT_TRUE(row);
    order += row->row.id;
    held.push_back(std::move(*row));
  }
  EXPECT_EQ(order, "abdecfgh");
  EXPECT_FALSE(queue_1.next([] { return false; }));
}

TEST_F(LoraRows, ASetThatOthersMakeIsLessWanted) {
  const auto rows = rows_with({1, 1, 1, 2, 2});
  const RunContext context = context_for(out_);
  const Task task = test::StubEngine().task();
  store::Claims others(context.folder.claims(), store::ClaimOwner::this_process("run-0", ""), context.timing);
  const auto claimed = others.try_claim("a").claim;
  ASSERT_TRUE(claimed);
  store::Claims claims(context.folder.claims(), store::ClaimOwner::this_process("run-1", ""), context.timing);
  ItemQueue queue(rows, context, task, claims);
  const auto row = queue.next([] { return false; });
  ASSERT_TRUE(row);
  EXPECT_EQ(row->row.id, "d") << "two open rows for one group, not two for two groups";
}

TEST_F(LoraRows, FinishedRowsAreNotWanted) {
  run(rows_with({1, 1, 1}));
  auto rows = rows_with({1, 1, 1, 2, 2, 1});
  EXPECT_THAT(run(rows, {}, "run-2").started, ElementsAre("d", "e", "f"));
}

TEST_F(LoraRows, KeepingThemClaimsNoOtherRow) {
  const auto rows = rows_with({0, 1});
  const RunContext context = context_for(out_);
  const Task task = test::StubEngine().task();
  store::Claims claims(context.folder.claims(), store::ClaimOwner::this_process("run-1", ""), context.timing);
  ItemQueue queue(rows, context, task, claims);
  const auto first = queue.next([] { return false; }, /*keeps_loras=*/true);
  ASSERT_TRUE(first);
  EXPECT_FALSE(queue.next([] { return false; }, /*keeps_loras=*/true));
  EXPECT_EQ(queue.seen(), 1);
  EXPECT_TRUE(queue.next([] { return false; }));
}

/// Where experts take turns, the items of a set go through both before the next set comes.
TEST_F(LoraRows, ItemsThatWaitComeBeforeAChange) {
  const Done done = run(rows_with({0, 1, 0, 1, 0}), [](RunContext& context) { context.items_in_turn = 16; });
  EXPECT_THAT(done.started, ElementsAre("a", "c", "e", "a", "c", "e", "b", "d", "b", "d"));
  EXPECT_THAT(done.sets, ElementsAre(0, 1));
  EXPECT_THAT(done.experts,
              ElementsAre(Expert::high_noise, Expert::low_noise, Expert::high_noise, Expert::low_noise));
}

TEST_F(LoraRows, AStopLeavesTheOtherSetsOpen) {
  bool stop = false;
  on_step_ = [&](const Request& request, int step) { stop = stop || (request.id == "b" && step == 1); };
  const auto stopping = [&](RunContext& context) { context.stop.is_requested = [&] { return stop; }; };
  const auto rows = rows_with({0, 1, 0, 2, 1});
  const Done first = run(rows, stopping);
  EXPECT_EQ(first.all.made, 2);
  EXPECT_EQ(first.all.open, 3);
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
  on_step_ = {};
  const Done second = run(rows, {}, "run-2");
  EXPECT_EQ(second.all.made, 3);
  EXPECT_THAT(second.started, ElementsAre("b", "e", "d"));
  EXPECT_EQ(record("b")["resumed_at_steps"], nlohmann::json({2}));
}

TEST_F(LoraRows, RecordsNameTheOnesOfTheirRow) {
  const auto rows = rows_with({0, 1});
  run(rows);
  for (const auto& [id, text] : std::map<std::string, std::string>{{"a", "0"}, {"b", "1"}}) {
    const nlohmann::json fields = record(id);
    EXPECT_EQ(fields["parameters"]["loras"][0]["sha256"], text);
    EXPECT_EQ(fields["lora_files"], nlohmann::json({"/loras/" + text}));
    EXPECT_THAT(fields["command"].get<std::string>(), HasSubstr("--lora /loras/" + text));
  }
  EXPECT_EQ(run(rows, {}, "run-2").all.kept, 2);
}

TEST_F(LoraRows, ARowWithOtherOnesIsMadeAgainAlone) {
  run(rows_with({0, 1}));
  const Done done = run(rows_with({0, 2}), {}, "run-2");
  EXPECT_EQ(done.all.kept, 1);
  EXPECT_THAT(done.started, ElementsAre("b"));
  EXPECT_THAT(record("b")["made_again"]["because"].get<std::string>(), HasSubstr("loras"));
}

TEST_F(LoraRows, AStateOfOtherOnesIsNotUsed) {
  bool stop = false;
  on_step_ = [&](const Request&, int step) { stop = step == 1; };
  run(rows_with({1}), [&](RunContext& context) { context.stop.is_requested = [&] { return stop; }; });
  on_step_ = {};
  run(rows_with({2}), {}, "run-2");
  EXPECT_FALSE(record("a").contains("resumed_at_steps") && !record("a")["resumed_at_steps"].empty());
}

}  // namespace
}  // namespace wan::batch
