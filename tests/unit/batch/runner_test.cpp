#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "batch/summary.h"
#include "core/checksum.h"
#include "core/file.h"
#include "runner_fixture.h"
#include "store/stop_file.h"

namespace wan::batch {
namespace {

using nlohmann::json;
using test::files_in;
using test::message_of;
using test::rows_of;
using test::Runner;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string two_rows = "id,prompt\na,cat\nb,dog\n";

TEST_F(Runner, PublishesVideoSidecarAndRunRecord) {
  const auto rows = rows_of(two_rows);
  EXPECT_THAT(run(rows, "run-1", [](RunContext& c) { c.results.save_latents = true; }),
              ElementsAre("cat", "dog"));
  EXPECT_THAT(files_in(out_), ElementsAre("a.json", "a.latent.safetensors", "a.mp4", "b.json",
                                          "b.latent.safetensors", "b.mp4", "run.json"));
  const json sidecar = read("a.json");
  EXPECT_EQ(sidecar["outputs"]["video"]["sha256"], sha256_file_hex(out_ / "a.mp4"));
  EXPECT_EQ(sidecar["outputs"]["latents"]["sha256"], sha256_file_hex(out_ / "a.latent.safetensors"));
  EXPECT_EQ(sidecar["parameters"]["prompt"], "cat");
  EXPECT_EQ(sidecar["manifest"]["line"], 2);
  EXPECT_EQ(sidecar["command"].get<std::string>(), "wan_batch --ckpt-dir 'my models' --prompt=cat");
  const json record = read("run.json");
  EXPECT_EQ(record["exit_code"], 0);
  EXPECT_EQ(record["counts"]["made"], 2);
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
}

TEST_F(Runner, ResumesWithoutDoingAnythingAgain) {
  run(rows_of(two_rows), "run-1");
  EXPECT_THAT(run(rows_of(two_rows), "run-2"), ElementsAre());
  EXPECT_EQ(result_.counts.kept, 2);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
  EXPECT_THAT(run(rows_of(two_rows), "run-3", [](RunContext& c) { c.results.resume = false; }),
              ElementsAre("cat", "dog"));
  EXPECT_EQ(result_.counts.made, 2);
}

TEST_F(Runner, ChangedParametersAreMadeAgain) {
  run(rows_of(two_rows), "run-1");
  EXPECT_THAT(run(rows_of("id,prompt\na,cat\nb,wolf\n"), "run-2"), ElementsAre("wolf"));
  EXPECT_THAT(run(rows_of("id,prompt,seed\na,cat,77\nb,wolf,\n"), "run-3"), ElementsAre("cat"));
  EXPECT_THAT(run(rows_of("id,prompt,seed\na,cat,77\nb,wolf,\n"), "run-4",
                  [](RunContext& c) { c.requests.command_line.sample_steps = 3; }),
              ElementsAre("cat", "wolf"));
  EXPECT_THAT(run(rows_of("id,prompt,seed\na,cat,77\nb,wolf,\n"), "run-5",
                  [](RunContext& c) {
                    c.requests.command_line.sample_steps = 3;
                    c.results.save_latents = true;
                  }),
              ElementsAre("cat", "wolf"))
      << "latents are asked for now and were not kept";
}

TEST_F(Runner, AutomaticSeedIsKeptByTheSidecar) {
  const auto with_base = [](std::int64_t base) {
    return [base](RunContext& c) { c.requests.settings.base_seed = base; };
  };
  run(rows_of(two_rows), "run-1", with_base(10));
  EXPECT_THAT(run(rows_of("id,prompt\nnew,bird\na,cat\nb,dog\n"), "run-2", with_base(500)),
              ElementsAre("bird"));
  std::filesystem::remove(out_ / "b.mp4");
  run(rows_of(two_rows), "run-3", with_base(900));
  ASSERT_EQ(runs_.size(), 1U);
  EXPECT_EQ(runs_[0].seed, 11);
}

TEST_F(Runner, EveryAlteredOrMissingOutputIsFound) {
  const auto rows = rows_of("id,prompt\na,1\nb,2\nc,3\nd,4\ne,5\nf,6\ng,7\n");
  run(rows, "run-1");
  const auto flip_a_bit = [&](const std::string& name) {
    std::fstream file(out_ / name, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(1);
    const int byte = file.get();
    file.seekp(1);
    file.put(static_cast<char>(byte ^ 1));
  };
  flip_a_bit("a.mp4");
  std::filesystem::remove(out_ / "b.mp4");
  std::filesystem::resize_file(out_ / "c.mp4", 1);
  std::ofstream(out_ / "d.json") << "{ \"cut";
  std::ofstream(out_ / "e.json") << R"({"run": 5, "outputs": [], "parameters": "x"})";
  std::filesystem::rename(out_ / "f.mp4", dir_ / "elsewhere.mp4");
  std::filesystem::create_symlink(dir_ / "elsewhere.mp4", out_ / "f.mp4");
  EXPECT_THAT(run(rows, "run-2"), ElementsAre("1", "2", "3", "6"));
  EXPECT_EQ(result_.counts.failed, 2) << "what cannot be told from a file of the user's stays";
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(out_ / "f.mp4")));
  std::filesystem::remove(out_ / "d.json");
  std::filesystem::remove(out_ / "d.mp4");
  std::filesystem::remove(out_ / "e.json");
  std::filesystem::remove(out_ / "e.mp4");
  EXPECT_THAT(run(rows, "run-3"), ElementsAre("4", "5"));
  EXPECT_THAT(run(rows, "run-4"), ElementsAre());
}

TEST_F(Runner, LinksAndPipesInPlaceOfOutputsAreNeitherFollowedNorReplaced) {
  std::filesystem::create_directories(out_);
  std::ofstream(dir_ / "precious") << "mine";
  for (const std::string name : {"a.mp4", "a.json"}) {
    std::filesystem::create_symlink(dir_ / "precious", out_ / name);
  }
  ASSERT_EQ(::mkfifo((out_ / "b.mp4").c_str(), 0600), 0);
  EXPECT_THAT(run(rows_of(two_rows), "run-1"), ElementsAre());
  EXPECT_EQ(read_text_file(dir_ / "precious", 100), "mine");
  EXPECT_EQ(result_.counts.failed, 2);
  EXPECT_TRUE(std::filesystem::is_symlink(out_ / "a.mp4"));
  EXPECT_TRUE(std::filesystem::is_fifo(out_ / "b.mp4"));
}

TEST_F(Runner, FolderInPlaceOfAnOutputFailsTheItemAlone) {
  std::filesystem::create_directories(out_ / "a.mp4");
  run(rows_of(two_rows), "run-1");
  EXPECT_EQ(result_.counts.made, 1);
  EXPECT_EQ(read("a.failed.json")["stage"], "output");
  EXPECT_THAT(files_in(out_), ElementsAre("a.failed.json", "a.mp4", "b.json", "b.mp4", "run.json"));
}

TEST_F(Runner, FailuresAreRecordedKeptAndRetriedOnRequest) {
  on_run_ = [](const Request& request, const OutputPaths& outputs) {
    std::ofstream(outputs.video) << "half a vid";
    if (request.id == "a") fail_item("denoise", "NaN in step 3");
  };
  const auto rows = rows_of("id,prompt,sample_steps\na,cat,2\nb,dog,2\nc,cannot be made,2\nd,bird,two\n");
  run(rows, "run-1");
  EXPECT_EQ(result_.counts.made, 1);
  EXPECT_EQ(result_.counts.failed, 3);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::some_failed);
  EXPECT_THAT(files_in(out_),
              ElementsAre("a.failed.json", "b.json", "b.mp4", "c.failed.json", "d.failed.json", "run.json"));
  EXPECT_EQ(read("a.failed.json")["message"], "NaN in step 3");
  EXPECT_EQ(read("c.failed.json")["stage"], "image");
  EXPECT_EQ(read("d.failed.json")["message"], "manifest.csv:5:8: sample_steps: 'two' is not a whole number");

  on_run_ = {};
  EXPECT_THAT(run(rows, "run-2"), ElementsAre());
  EXPECT_EQ(result_.counts.failed_before, 3);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::some_failed);
  EXPECT_THAT(run(rows, "run-3", [](RunContext& c) { c.results.retry_failed = true; }), ElementsAre("cat"));
  EXPECT_EQ(result_.counts.made, 1);
  EXPECT_EQ(result_.counts.failed, 2) << "tried again, failed again";
  EXPECT_FALSE(std::filesystem::exists(out_ / "a.failed.json"));
  EXPECT_THAT(run(rows_of("id,prompt,sample_steps\na,cat,2\nb,dog,2\nc,can be made,2\nd,bird,2\n"), "run-4"),
              ElementsAre("can be made", "bird"))
      << "changed rows are tried again without being asked";
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
}

TEST_F(Runner, ChangedOrRepairedImageIsMadeAgainAndAMissingOneIsNot) {
  kind_ = TaskKind::i2v;
  std::ofstream(dir_ / "x.png") << "pixels";
  const auto rows = manifest::parse_manifest("id,image,prompt\na,x.png,cat\n", dir_ / "m.csv", kind_);
  EXPECT_THAT(run(rows, "run-1"), ElementsAre("cat"));
  EXPECT_THAT(run(rows, "run-2"), ElementsAre());
  std::ofstream(dir_ / "x.png") << "other pixels";
  EXPECT_THAT(run(rows, "run-3"), ElementsAre("cat"));
  std::filesystem::remove(dir_ / "x.png");
  EXPECT_THAT(run(rows, "run-4"), ElementsAre());
  EXPECT_EQ(result_.counts.kept, 1);
}

TEST_F(Runner, OtherExceptionsLeaveWithNothingHalfDone) {
  on_run_ = [](const Request&, const OutputPaths& outputs) {
    std::ofstream(outputs.video) << "half a vid";
    fail("the GPU fell off the bus");
  };
  EXPECT_EQ(message_of<Error>([&] { run(rows_of(two_rows), "run-1"); }), "the GPU fell off the bus");
  EXPECT_THAT(files_in(out_), ElementsAre());
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
  on_run_ = {};
  EXPECT_THAT(run(rows_of(two_rows), "run-2"), ElementsAre("cat", "dog"));
}

TEST_F(Runner, EngineThatLeavesNoPlainFileFailsTheItem) {
  on_run_ = [this](const Request& request, const OutputPaths& outputs) {
    if (request.id == "a") std::filesystem::create_symlink(dir_ / "elsewhere", outputs.video);
  };
  run(rows_of(two_rows), "run-1");
  EXPECT_EQ(result_.counts.made, 1);
  EXPECT_EQ(result_.counts.failed, 1);
}

TEST_F(Runner, StopsBetweenItemsAndGoesOnLater) {
  run(rows_of(two_rows), "run-1", [&](RunContext& c) {
    c.stop.is_requested = [this] { return std::filesystem::exists(out_ / "a.json"); };
  });
  EXPECT_TRUE(counts_.stopped);
  EXPECT_EQ(result_.counts.open, 1);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::stopped_early);
  EXPECT_EQ(read("run.json")["exit_code"], 85);
  EXPECT_EQ(read("run.json")["stopped_by"], "signal");
  EXPECT_THAT(run(rows_of(two_rows), "run-2"), ElementsAre("dog"));
}

TEST_F(Runner, TheStopFileStopsTheRunAndStays) {
  std::filesystem::create_directories(out_);
  const std::filesystem::path file = store::stop_file(out_);
  std::ofstream(file).close();
  EXPECT_TRUE(run(rows_of(two_rows), "run-1").empty());
  EXPECT_EQ(exit_code(result_.counts), ExitCode::stopped_early);
  EXPECT_EQ(read("run.json")["stopped_by"], "stop_file");
  EXPECT_THAT(std::string(exit_reason(result_.counts)), HasSubstr("the file STOP"));
  EXPECT_THAT(format_summary(result_.outcomes, result_.counts, out_), HasSubstr("remove " + file.string()));
  EXPECT_TRUE(std::filesystem::exists(file));
  std::filesystem::remove(file);
  EXPECT_THAT(run(rows_of(two_rows), "run-2"), ElementsAre("cat", "dog"));
  EXPECT_EQ(read("run.json")["stopped_by"], "");
}

TEST_F(Runner, ItemsOfALivingOwnerAreLeftToIt) {
  const store::OutputFolder folder(out_);
  store::Claims other(folder.claims(), store::ClaimOwner::this_process("other", "9"),
                      {.heartbeat = std::chrono::milliseconds(10), .stale_after = std::chrono::seconds(30)});
  const store::ClaimAttempt held = other.try_claim("a");
  EXPECT_THAT(run(rows_of(two_rows), "run-1"), ElementsAre("dog"));
  EXPECT_EQ(result_.counts.open, 1);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
}

TEST_F(Runner, ClaimOfAFinishedItemWhoseOwnerDiedIsReleased) {
  const auto rows = rows_of(two_rows);
  run(rows, "run-1");
  const std::string token(32, 'd');
  std::ofstream(out_ / ".claims" / "a.claim")
      << "0000000000000007\n"
      << R"({"host":"far","pid":1,"job":"","run":"r","machine":"other","token":")" << token << "\"}\n";
  std::ofstream(out_ / fmt::format(".a.wan-{}.mp4", token)) << "half";
  run(rows_of("id,prompt\na,cat\nb,dog\nc,bird\n"), "run-2",
      [](RunContext& c) { c.timing.stale_after = {}; });
  EXPECT_EQ(result_.counts.kept, 2);
  EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
  EXPECT_THAT(files_in(out_),
              ElementsAre("a.json", "a.mp4", "b.json", "b.mp4", "c.json", "c.mp4", "run.json"));
}

TEST_F(Runner, OnlyAbandonedUnfinishedFilesAreRemoved) {
  const auto rows = rows_of(two_rows);
  run(rows, "run-1");
  const std::string dead(32, 'd');
  const std::string alive(32, 'a');
  std::ofstream(out_ / fmt::format(".run.wan-{}.json", dead)) << "{";
  std::ofstream(out_ / fmt::format(".a.wan-{}.mp4", alive)) << "half";
  std::ofstream(out_ / ".claims" / fmt::format(".owner-{}", alive)) << "beats\n";
  std::ofstream(out_ / ".claims" / fmt::format(".owner-{}", dead)).flush();  // died before it wrote
  std::ofstream(out_ / ".claims" / fmt::format(".batch.wan-{}.tmp", std::string(32, 'e')))
      << "{";  // a batch record
  std::ofstream(out_ / ".of_the_user.json") << "{}";
  const auto with_age = [](std::chrono::milliseconds age) {
    return [age](RunContext& c) { c.timing.stale_after = age; };
  };
  run(rows, "run-2", with_age(std::chrono::hours(1)));
  EXPECT_TRUE(std::filesystem::exists(out_ / fmt::format(".run.wan-{}.json", dead))) << "it may be under way";
  run(rows, "run-3", with_age(std::chrono::milliseconds(0)));
  EXPECT_FALSE(std::filesystem::exists(out_ / fmt::format(".run.wan-{}.json", dead)));
  EXPECT_FALSE(std::filesystem::exists(out_ / ".claims" / fmt::format(".owner-{}", dead)));
  EXPECT_FALSE(
      std::filesystem::exists(out_ / ".claims" / fmt::format(".batch.wan-{}.tmp", std::string(32, 'e'))));
  EXPECT_TRUE(std::filesystem::exists(out_ / fmt::format(".a.wan-{}.mp4", alive)));
  EXPECT_TRUE(std::filesystem::exists(out_ / ".of_the_user.json"));
}

TEST_F(Runner, ThousandRowsOfWhichTwoHundredAreBad) {
  std::string text = "prompt,sample_steps\n";
  for (int i = 0; i < 1000; ++i) text += fmt::format("cat {},{}\n", i, i % 5 == 0 ? "none" : "4");
  run(rows_of(text), "run-1");
  EXPECT_EQ(result_.counts.made, 800);
  EXPECT_EQ(result_.counts.failed, 200);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::some_failed);
  EXPECT_EQ(files_in(out_).size(), 800U * 2 + 200 + 1);
}

TEST(OutputFolderTest, UnusableFoldersAreUsageErrors) {
  const wan::test::TempDir dir;
  std::ofstream(dir / "file") << "x";
  const auto message = [](const std::filesystem::path& path) {
    return message_of<UsageError>([&] { store::OutputFolder{path}; });
  };
  EXPECT_THAT(message(dir / "file" / "out"), HasSubstr("file/out: Not a directory; choose another"));
  EXPECT_THAT(message(dir / "file"), HasSubstr("file"));
  EXPECT_THAT(message("/proc/nowhere"), HasSubstr("/proc/nowhere"));
  EXPECT_THAT(message("/proc"), HasSubstr("cannot write to the output folder /proc"));
  std::filesystem::create_directories(dir / "real" / "out");
  std::filesystem::create_directory_symlink(dir / "real" / "out", dir / "link");
  EXPECT_EQ(message(dir / "link"), "no error") << "the folder itself may be a link";
  std::filesystem::create_directories(dir / "trap");
  std::filesystem::create_directory_symlink("/tmp", dir / "trap" / ".claims");
  EXPECT_THAT(message(dir / "trap"), HasSubstr(".claims is in the way"));
}

}  // namespace
}  // namespace wan::batch
