// A site's own figures in a plan: what is measured, what is scaled, and what stays with the machine's
// figures.
#include "launch/site_study.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/plan_report.h"
#include "launch/run_layout.h"
#include "layout_inputs.h"
#include "parallel/item_time.h"
#include "support/temp_dir.h"
#include "wan/error.h"

namespace wan::launch {
namespace {

using nlohmann::json;
using parallel::Division;
using parallel::Residence;
using test::full_model;
using test::gib;
using ::testing::HasSubstr;

json figure(double seconds, int starts) { return {{"median", seconds}, {"n", starts}}; }

/// I2V-A14B at 480p on an H200, as a page's JSON file has it.
json entry(int cfg, int ulysses, double step_s, int starts = 6) {
  return {
      {"task", "i2v-A14B"},
      {"device", "NVIDIA H200"},
      {"precision", "bf16"},
      {"passes", 2},
      {"width", 832},
      {"height", 480},
      {"frames", 81},
      {"nodes", 1},
      {"group_gpus", cfg * ulysses},
      {"cfg", cfg},
      {"ulysses", ulysses},
      {"placement", "whole"},
      {"step_s", figure(step_s, starts)},
      {"item_phases_s",
       {{"encode", figure(0.25, starts)}, {"decode", figure(0.5, starts)}, {"write", figure(9, starts)}}}};
}

/// Reads a study of these entries for I2V-A14B in bf16.
class SiteStudy : public ::testing::Test {
 protected:
  parallel::SiteFigures read(const std::vector<json>& entries, const std::string& gpu = "NVIDIA H200") {
    std::ofstream(file()) << json{{"format", 1}, {"measured", entries}};
    return read_site_study(file(), {.gpu = gpu, .task = "i2v-A14B", .precision = "bf16"});
  }

  std::string refusal(const std::vector<json>& entries, const std::string& gpu = "NVIDIA H200") {
    try {
      read(entries, gpu);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "not refused";
  }

  /// The time of an item of `grid`, with the study's figures.
  parallel::ItemTime time_of(const std::vector<json>& entries, const comm::GridShape& grid,
                             parallel::NetworkPlacement transformers = {}) {
    parallel::PlanInput plan = full_model(true);
    plan.grid = grid;
    plan.placement.transformers = transformers;
    plan.site = std::make_shared<const parallel::SiteFigures>(read(entries));
    return parallel::expected_item_time(plan);
  }

  std::filesystem::path file() const { return folder_ / "report.json"; }

 private:
  wan::test::TempDir folder_;
};

constexpr comm::GridShape four{.group_size = 4, .cfg = 2, .ulysses = 2};

TEST_F(SiteStudy, GivesTheTimesOfItsLayouts) {
  const parallel::ItemTime time = time_of({entry(2, 1, 2.75), entry(2, 2, 1.5)}, four);
  EXPECT_DOUBLE_EQ(time.step_s, 1.5);
  EXPECT_DOUBLE_EQ(time.denoise_s, 60);
  EXPECT_DOUBLE_EQ(time.encode_s, 0.25);
  EXPECT_DOUBLE_EQ(time.decode_s, 0.5);
  EXPECT_DOUBLE_EQ(time.write_s, 9);
  EXPECT_EQ(time.sources.step, "measured, 6 starts");
  EXPECT_EQ(time.sources.text, "");
  EXPECT_DOUBLE_EQ(time.text_s, parallel::reference_machine().text_encode_s);
}

TEST_F(SiteStudy, LeavesOtherLayoutsToTheMachinesFigures) {
  parallel::PlanInput plan = full_model(true);
  plan.grid = four;
  const double computed_s = parallel::make_plan(plan).step_s;
  const std::vector<json> entries{entry(2, 1, 2.75), entry(1, 4, 9)};
  const parallel::ItemTime time = time_of(entries, four);
  EXPECT_DOUBLE_EQ(time.step_s, computed_s);
  EXPECT_EQ(time.sources.step, "");
  EXPECT_DOUBLE_EQ(time.write_s, 9) << "the host writes videos, whatever the layout is";
  EXPECT_EQ(time_of({entry(2, 2, 1.5)}, four, {Division::sharded, Residence::resident}).sources.step, "");
  json sharded = entry(2, 2, 1.7, 1);
  sharded["placement"] = "sharded over 4, offloaded";
  const parallel::ItemTime offloaded =
      time_of({entry(2, 2, 1.5), sharded}, four, {Division::sharded, Residence::waits_on_host});
  EXPECT_DOUBLE_EQ(offloaded.step_s, 1.7);
  EXPECT_EQ(offloaded.sources.step, "measured, 1 start");
}

TEST_F(SiteStudy, ScalesFromTheNearestSize) {
  json small = entry(2, 2, 0.1);
  small["width"] = 416;
  json near = entry(2, 2, 3);  // 1.5 times the tokens of 832*480
  near["height"] = 720;
  const parallel::ItemTime time = time_of({small, near}, four);
  EXPECT_THAT(time.sources.step, HasSubstr("scaled from 832*720, 81 frames, 6 starts"));
  parallel::PlanInput plan = full_model(true);
  plan.grid = four;
  const double own_s = parallel::make_plan(plan).step_s;
  plan.tokens.rows = 45;
  EXPECT_DOUBLE_EQ(time.step_s, 3 * own_s / parallel::make_plan(plan).step_s);
  EXPECT_DOUBLE_EQ(time.decode_s, 0.5 / 1.5);
}

TEST_F(SiteStudy, TakesTheFigureOfMostStarts) {
  EXPECT_DOUBLE_EQ(time_of({entry(2, 2, 1.5, 2), entry(2, 2, 1.6, 7), entry(2, 2, 1.7, 3)}, four).step_s,
                   1.6);
}

TEST_F(SiteStudy, UsesTheEntriesOfThePlansGpuModelAndPrecision) {
  json other = entry(2, 2, 7);
  other["device"] = "NVIDIA H100 80GB HBM3";
  json precise = entry(2, 2, 8);
  precise["precision"] = "fp32";
  json team = entry(2, 2, 9);
  team["placement"] = "sharded over 2";
  json spread = entry(2, 2, 10);
  spread["nodes"] = 2;
  const std::vector<json> entries{other, precise, team, spread, entry(2, 2, 1.5)};
  ASSERT_EQ(read(entries).videos.size(), 1);
  EXPECT_DOUBLE_EQ(read(entries).videos.front().step.seconds, 1.5);
  EXPECT_DOUBLE_EQ(read(entries, "NVIDIA H100 80GB HBM3").videos.front().step.seconds, 7);
  EXPECT_THAT(refusal(entries, "NVIDIA A100-SXM4-80GB"),
              HasSubstr("report.json: 'measured[0].device' is 'NVIDIA H100 80GB HBM3', and the plan is for "
                        "NVIDIA A100-SXM4-80GB"));
  EXPECT_THAT(refusal(entries, ""), HasSubstr("there is no GPU here to tell which to plan for"));
  EXPECT_THAT(refusal({precise}), HasSubstr("'measured[0].precision' is 'fp32', and the plan is for bf16"));
  EXPECT_THAT(refusal({team, spread}), HasSubstr("'measured' has no layout of a group of GPUs in one node"));
}

TEST_F(SiteStudy, RefusesWrongFieldsByName) {
  const auto changed = [](const char* pointer, const json& value) {
    json result = entry(2, 2, 1.5);
    result[json::json_pointer(pointer)] = value;
    return result;
  };
  const std::vector<std::pair<json, std::string>> cases{
      {changed("/task", nullptr), "'measured[0].task' is not recorded"},
      {changed("/task", 3), "'measured[0].task' is 3; expected a text"},
      {changed("/step_s/median", nullptr), "'measured[0].step_s.median' is null; expected seconds"},
      {changed("/step_s/median", "fast"), "'measured[0].step_s.median' is \"fast\"; expected seconds"},
      {changed("/step_s/median", 1e300), "'measured[0].step_s.median' is 1e+300; expected seconds"},
      {changed("/step_s/n", 0), "'measured[0].step_s.n' is 0; expected a whole number from 1"},
      {changed("/step_s", json::array({1})), "'measured[0].step_s' is a list; expected an object"},
      {changed("/cfg", 3), "'measured[0].cfg' is 3; expected a whole number from 1 to 2"},
      {changed("/ulysses", 1'000'000'000'000), "'measured[0].ulysses' is 1000000000000; expected"},
      {changed("/width", 8), "'measured[0].width' is 8; expected a whole number from 16"},
      {changed("/frames", 1.5), "'measured[0].frames' is 1.5; expected a whole number"},
      {changed("/passes", nullptr), "'measured[0].passes' is null; expected a whole number"},
      {changed("/placement", "somewhere"), "'measured[0].placement' is 'somewhere'; expected whole"},
      {changed("/item_phases_s", 3), "'measured[0].item_phases_s' is 3; expected an object"},
      {changed("/item_phases_s/decode", 3), "'measured[0].item_phases_s.decode' is 3; expected an object"},
      {changed("/cfg", nullptr), "'measured' has no layout of a group of GPUs in one node"},
      {json(5), "'measured[0]' is 5; expected an object"},
      {json{{"cfg", 2}, {"ulysses", 2}, {"placement", "whole"}}, "'measured[0].group_gpus' is missing"}};
  for (const auto& [wrong, said] : cases) EXPECT_THAT(refusal({wrong}), HasSubstr("report.json: " + said));
  EXPECT_THAT(refusal({}), HasSubstr("report OUT... --json FILE"));
}

TEST_F(SiteStudy, RefusesFilesThatAreNoStudy) {
  const auto said = [&](const char* content) {
    std::ofstream(file()) << content;
    try {
      read_site_study(file(), {.gpu = "cpu", .task = "i2v-A14B", .precision = "fp32"});
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("not refused");
  };
  EXPECT_THAT(said(R"({"format": 2, "measured": []})"), HasSubstr("'format' is 2; expected a whole number"));
  EXPECT_THAT(said(R"({"format": 1, "measured": {}})"),
              HasSubstr("'measured' is an object; expected a list"));
  EXPECT_THAT(said(R"({"format": 1})"), HasSubstr("'measured' is missing; write it with"));
  for (const char* content : {"", "[]", "nonsense"}) EXPECT_THAT(said(content), HasSubstr("report.json"));
}

TEST_F(SiteStudy, IsNamedInTheReport) {
  Options options;
  MachineSize machine{.ranks = 4, .memory_bytes = 139 * gib};
  parallel::PlanInput plan = full_model(true);
  options.plan = true;
  read({entry(2, 2, 1.5)});
  options.measured = file();
  use_site_study(options, "i2v-A14B", machine, plan);
  EXPECT_EQ(machine.figures.gpu, "NVIDIA H200") << "no GPU is here, so it is the study's";
  choose_layout(options, machine, plan);
  const std::string report = plan_report({.model = plan,
                                          .choice = weigh_layouts(options, machine, plan),
                                          .machine = machine,
                                          .manifest = {},
                                          .objective = options.objective,
                                          .task = "i2v-A14B",
                                          .precision = "bf16"});
  for (const char* part :
       {"report.json: 1 layout of i2v-A14B on NVIDIA H200; other times are those of the figures\n",
        "denoise: 40 steps of 1.5 s                       60.00 s  measured, 6 starts\n",
        "  H200's figures\n", "measured   chosen\n"})
    EXPECT_THAT(report, HasSubstr(part));
}

}  // namespace
}  // namespace wan::launch
