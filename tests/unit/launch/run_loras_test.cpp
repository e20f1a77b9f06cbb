#include "launch/run_loras.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/local.h"
#include "launch/base_memory.h"
#include "launch/distilled_model.h"
#include "layout_inputs.h"

namespace wan::launch {
namespace {

using test::input_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<LoraChoice> lora(const char* path) { return {{.path = path}}; }

/// Rows with these LoRAs each, on a model with two experts.
RunInput input_with(const std::vector<const char*>& loras) {
  std::string csv = "prompt\n";
  for (std::size_t i = 0; i < loras.size(); ++i) csv += "a\n";
  RunInput input = input_of(csv);
  input.checkpoint.experts = {{.expert = Expert::high_noise, .path = "/models/high"},
                              {.expert = Expert::low_noise, .path = "/models/low"}};
  for (std::size_t i = 0; i < loras.size(); ++i)
    if (*loras[i] != '\0') input.rows[i].overrides.loras = lora(loras[i]);
  return input;
}

/// On one rank.
void find_sets(RunInput& input) { find_lora_sets(*comm::make_local("world"), {}, input); }

std::vector<int> sets_of(const RunInput& input) {
  std::vector<int> sets;
  for (const manifest::ManifestRow& row : input.rows) sets.push_back(row.lora_set);
  return sets;
}

TEST(LoraSets, EqualOnesAreOne) {
  RunInput input = input_with({"", "/l/a.pt", "/l/b.pt", "/l/a.pt", ""});
  find_sets(input);
  EXPECT_THAT(sets_of(input), ElementsAre(0, 1, 2, 1, 0));
  EXPECT_EQ(input.lora_sets.size(), 3U);
  EXPECT_TRUE(input.lora_sets[1].is_of_rows);
}

TEST(LoraSets, ARowMayNameThoseOfTheCommandLine) {
  RunInput input = input_with({"/l/a.pt", ""});
  input.overrides.loras = lora("/l/a.pt");
  find_sets(input);
  EXPECT_THAT(sets_of(input), ElementsAre(0, 0));
  EXPECT_FALSE(input.lora_sets.front().is_of_rows) << "the command line's errors end the run";
}

TEST(LoraSets, WithoutRowsTheCommandLinesAreThere) {
  RunInput input = input_with({""});
  input.rows.clear();
  input.overrides.loras = lora("/l/a.pt");
  find_sets(input);
  ASSERT_EQ(input.lora_sets.size(), 1U);
  EXPECT_EQ(input.lora_sets.front().loras.front().file, "/l/a.pt");
}

TEST(LoraSets, RowsOfADistilledSetHaveItsDefaults) {
  RunInput input = input_with({"", "/l/x_4step.pt", "/l/x_4step.pt"});
  input.rows[2].overrides.sample_steps = 8;
  find_sets(input);
  EXPECT_FALSE(input.distilled.is_distilled);
  EXPECT_EQ(resolve_row(input, input.rows[0]).sample_steps, 40);
  EXPECT_EQ(resolve_row(input, input.rows[1]).sample_steps, 4);
  EXPECT_EQ(resolve_row(input, input.rows[1]).solver, Solver::euler);
  EXPECT_EQ(resolve_row(input, input.rows[2]).sample_steps, 8);
  EXPECT_THAT(describe_distilled_model(input), HasSubstr("2 of 3 items have LoRAs of a distilled model"));
  EXPECT_EQ(unusual_steps(input), "");
}

TEST(LoraSets, AModelIsDistilledWhereAllAre) {
  RunInput input = input_with({"/l/x_4step.pt", "/l/y_lightning.pt"});
  find_sets(input);
  EXPECT_TRUE(input.distilled.is_distilled);
  EXPECT_EQ(input.checkpoint.task.defaults.sample_steps, 4);
}

TEST(LoraSets, GroupsBeginWithDifferentOnes) {
  RunInput input = input_with({"", "", "", "", "", "", "/l/a.pt", "/l/a.pt", "/l/a.pt", "/l/b.pt"});
  find_sets(input);
  std::vector<int> first;
  for (int group = 0; group < 5; ++group) first.push_back(first_lora_set(input, group, 5));
  EXPECT_THAT(first, ElementsAre(0, 1, 0, 0, 1));
}

TEST(BaseMemory, SaysWhereTheWeightsAre) {
  EXPECT_EQ(BaseMemory{}.describe(), "");
  EXPECT_THAT((BaseMemory{.sets = 3, .needed_bytes = 2048, .kept_bytes = 2048}.describe()),
              HasSubstr("the base weights stay in host memory for changes (2.0 KiB for each rank"));
  EXPECT_THAT((BaseMemory{.sets = 3, .needed_bytes = 2048, .kept_bytes = 0}.describe()),
              HasSubstr("reads the checkpoint again"));
}

}  // namespace
}  // namespace wan::launch
