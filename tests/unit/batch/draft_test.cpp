#include <gmock/gmock.h>

#include <fstream>

#include "batch/run_record.h"
#include "batch/summary.h"
#include "runner_fixture.h"
#include "store/batch_status.h"

namespace wan::batch {
namespace {

using test::files_in;
using test::rows_of;
using test::Runner;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Drafts of two items of ten steps.
class Drafts : public Runner {
 protected:
  using Names = std::vector<std::string>;

  Names draft(const std::string& name, const Draft& draft = {.after_step = 4}) {
    return run(rows_of(csv_), name, [&](RunContext& context) {
      context.requests.command_line.sample_steps = 10;
      context.results.draft = draft;
    });
  }
  Names finish(const std::string& name, const std::string& csv) {
    return run(rows_of(csv), name,
               [&](RunContext& context) { context.requests.command_line.sample_steps = 10; });
  }
  std::string text_of(const std::string& name) const { return read_text_file(out_ / name, 1 << 20); }

  std::string csv_ = "id,prompt,seed\na,cat,1\nb,dog,2\n";
};

TEST_F(Drafts, AreNotOpenAndNotMadeTwice) {
  EXPECT_THAT(draft("run-1"), ElementsAre("cat", "dog"));
  EXPECT_EQ(result_.counts.drafted, 2);
  EXPECT_EQ(result_.counts.open, 0);
  EXPECT_EQ(result_.counts.steps_gained, 8);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
  EXPECT_THAT(files_in(out_),
              ElementsAre("a.draft.json", "a.draft.mp4", "b.draft.json", "b.draft.mp4", "run.json"));
  EXPECT_EQ(read("run.json")["counts"]["drafted"], 2);
  EXPECT_EQ(read("a.draft.json")["status"], "drafted");
  EXPECT_EQ(read("a.draft.json")["draft"]["after_step"], 4);
  EXPECT_EQ(read("a.draft.json")["outputs"]["video"]["file"], "a.draft.mp4");
  EXPECT_EQ(read(".state/a.json")["steps_done"], 4);
  EXPECT_THAT(format_summary(result_.outcomes, result_.counts, out_), HasSubstr("0 of 2 done, 2 drafted\n"));
  EXPECT_TRUE(draft("run-2").empty());
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
  EXPECT_TRUE(draft("run-3", {.after_step = 3}).empty()) << "the preview after 4 steps shows more";
}

TEST_F(Drafts, GoOnFromTheirStates) {
  draft("run-1");
  EXPECT_THAT(finish("run-2", "id,prompt,seed\nb,dog,2\n"), ElementsAre("dog"));
  EXPECT_THAT(first_steps_, ElementsAre(4));
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
  EXPECT_EQ(read("b.json")["resumed_at_steps"], nlohmann::json{4});
  EXPECT_TRUE(std::filesystem::exists(out_ / "b.draft.mp4"));
  EXPECT_FALSE(std::filesystem::exists(out_ / ".state" / "b.json"));
  EXPECT_TRUE(std::filesystem::exists(out_ / ".state" / "a.json"));
  EXPECT_TRUE(draft("run-3").empty()) << "one is drafted, the other one done";
  EXPECT_EQ(result_.counts.kept, 1);
  EXPECT_EQ(result_.counts.drafted, 1);
  EXPECT_THAT(finish("run-4", csv_), ElementsAre("cat")) << "a run without drafts makes what is drafted";
}

TEST_F(Drafts, AreMadeAgainForOtherWishes) {
  draft("run-1");
  EXPECT_THAT(draft("run-2", {.after_step = 7}), ElementsAre("cat", "dog"));
  EXPECT_THAT(first_steps_, ElementsAre(4, 4));
  EXPECT_EQ(read("a.draft.json")["draft"]["after_step"], 7);
  EXPECT_THAT(draft("run-3", {.after_step = 7, .frames = 5}), ElementsAre("cat", "dog"));
  EXPECT_THAT(first_steps_, ElementsAre(7, 7));
  csv_ = "id,prompt,seed\na,cat,1\nb,wolf,2\n";
  EXPECT_THAT(draft("run-4", {.after_step = 7, .frames = 5}), ElementsAre("wolf"));
  std::ofstream(out_ / "a.draft.mp4") << "shorter";
  EXPECT_THAT(draft("run-5", {.after_step = 7, .frames = 5}), ElementsAre("cat"));
}

TEST_F(Drafts, OfItemsWithFewerStepsAreWhole) {
  EXPECT_THAT(draft("run-1", {.after_step = 10}), ElementsAre("cat", "dog"));
  EXPECT_EQ(result_.counts.made, 2);
  EXPECT_EQ(result_.counts.drafted, 0);
}

TEST_F(Drafts, ReplaceNothingForeign) {
  std::filesystem::create_directories(out_);
  std::ofstream(out_ / "a.draft.mp4") << "holiday";
  EXPECT_THAT(draft("run-1"), ElementsAre("dog"));
  EXPECT_EQ(text_of("a.draft.mp4"), "holiday");
  EXPECT_EQ(result_.counts.failed, 1);
  EXPECT_THAT(read("a.failed.json")["message"].get<std::string>(),
              HasSubstr("a.draft.mp4 does not belong to"));
}

TEST_F(Drafts, WhoseStateCannotBeSavedFailAlone) {
  std::filesystem::create_directories(out_ / ".state");
  std::ofstream(out_ / ".state" / "a.json") << "notes";
  EXPECT_THAT(draft("run-1"), ElementsAre("dog"));
  EXPECT_EQ(text_of(".state/a.json"), "notes");
  EXPECT_EQ(result_.counts.drafted, 1);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::some_failed);
  EXPECT_EQ(read("a.failed.json")["stage"], "output");
  EXPECT_THAT(read("a.failed.json")["message"].get<std::string>(),
              HasSubstr("a.json is not a record of wan_batch"));
  std::filesystem::remove(out_ / ".state" / "a.json");
  EXPECT_THAT(draft("run-2"), ElementsAre("cat")) << "the obstacle is gone";

  // Somebody puts the file there while the steps are made.
  std::filesystem::remove_all(out_);
  on_step_ = [&](const Request& request, int step) {
    if (request.prompt == "cat" && step == 2) std::ofstream(out_ / ".state" / "a.json") << "notes";
  };
  EXPECT_THAT(draft("run-3"), ElementsAre("cat", "dog"));
  EXPECT_EQ(result_.counts.drafted, 1);
  EXPECT_FALSE(result_.counts.stopped) << "nobody asked for that";
  EXPECT_EQ(exit_code(result_.counts), ExitCode::some_failed);
  EXPECT_EQ(read("a.failed.json")["stage"], "write");
  EXPECT_THAT(files_in(out_ / ".state"), ElementsAre(HasSubstr("a.json"), HasSubstr("b.4."), "b.json"));
}

}  // namespace
}  // namespace wan::batch
