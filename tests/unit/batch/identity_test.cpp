// Tests when two results count as the same. Different ones stay: no finished result is lost, and no foreign
// file is touched.
#include "store/identity.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "batch/summary.h"
#include "core/checksum.h"
#include "core/strings.h"
#include "runner_fixture.h"
#include "store/earlier.h"

namespace wan::batch {
namespace {

using nlohmann::json;
using test::context_for;
using test::files_in;
using test::message_of;
using test::rows_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Identity : public test::Runner {
 protected:
  using Change = std::function<void(RunContext&)>;
  static Change base_seed(std::int64_t seed) {
    return [seed](RunContext& c) {
      c.requests.settings.base_seed = seed;
      c.requests.settings.base_seed_is_drawn = false;
    };
  }
  static Change drawn_seed(std::int64_t seed) {
    return [seed](RunContext& c) { c.requests.settings.base_seed = seed; };
  }
  std::string because(const std::string& id) const { return read(id + ".json")["made_again"]["because"]; }
  std::string text(const std::string& name) const { return read_text_file(out_ / name, 1 << 20); }
  void put(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(out_);
    std::ofstream(out_ / name) << content;
  }
  void rewrite(const std::string& name, const std::function<void(json&)>& change) const {
    json fields = read(name);
    change(fields);
    std::ofstream(out_ / name) << fields.dump();
  }

  const std::vector<manifest::ManifestRow> cat_ = rows_of("id,prompt\na,cat\n");
};

TEST_F(Identity, OtherWeightsOrPrecisionAreAnotherResult) {
  run(cat_, "run-1");
  EXPECT_THAT(run(cat_, "run-2", [](RunContext& c) { c.requests.model.weights = "fedcba9876543210"; }),
              ElementsAre("cat"));
  EXPECT_EQ(because("a"), "weights: 0123456789ab, now fedcba987654");
  EXPECT_THAT(run(cat_, "run-3",
                  [](RunContext& c) {
                    c.requests.model.weights = "fedcba9876543210";
                    c.requests.model.precision = "bf16";
                  }),
              ElementsAre("cat"));
  EXPECT_EQ(because("a"), "precision: 'fp32', now 'bf16'");
  EXPECT_THAT(run(cat_, "run-4",
                  [](RunContext& c) {
                    c.requests.model = {.weights = "fedcba9876543210",
                                        .precision = "bf16",
                                        .lossy_options = {{"linear", "fp8"}}};
                  }),
              ElementsAre("cat"));
  EXPECT_EQ(because("a"), R"(lossy_options: none, now {"linear":"fp8"})");
  EXPECT_THAT(files_in(out_),
              ElementsAre("a.earlier-1.json", "a.earlier-1.mp4", "a.earlier-2.json", "a.earlier-2.mp4",
                          "a.earlier-3.json", "a.earlier-3.mp4", "a.json", "a.mp4", "run.json"));
}

/// Up to version 0.2.0 records and states say "exact" for bf16.
TEST_F(Identity, TheEarlierWordForBf16IsTheSamePrecision) {
  const Change bf16 = [](RunContext& c) { c.requests.model.precision = "bf16"; };
  run(cat_, "run-1", bf16);
  EXPECT_EQ(read("a.json")["parameters"]["precision"], "bf16");
  rewrite("a.json", [](json& record) { record["parameters"]["precision"] = record["precision"] = "exact"; });
  EXPECT_THAT(run(cat_, "run-2", bf16), ElementsAre());
  EXPECT_THAT(run(cat_, "run-3"), ElementsAre("cat")) << "fp32 is another";
  EXPECT_EQ(because("a"), "precision: 'bf16', now 'fp32'");
}

TEST_F(Identity, AStateWithTheEarlierWordForBf16IsUsed) {
  bool stop = false;
  on_step_ = [&](const Request&, int step) { stop = stop || step == 2; };
  const Change bf16 = [&](RunContext& c) {
    c.requests.command_line.sample_steps = 10;
    c.requests.model.precision = "bf16";
    c.stop.is_requested = [&] { return stop; };
  };
  run(cat_, "run-1", bf16);
  rewrite(".state/a.json", [](json& record) { record["parameters"]["precision"] = "exact"; });
  stop = false;
  on_step_ = {};
  run(cat_, "run-2", bf16);
  EXPECT_THAT(first_steps_, ElementsAre(3));
}

TEST_F(Identity, WhereItWasMadeIsNotCompared) {
  run(cat_, "run-1");
  EXPECT_THAT(run(cat_, "run-2",
                  [](RunContext& c) {
                    c.origin.ranks = 8;
                    c.origin.host = "elsewhere";
                    c.origin.attention = "flashinfer (automatic)";
                    c.origin.libraries = {{"LibTorch", "3.0"}};
                    c.origin.command = {"mpirun", "wan_batch"};
                  }),
              ElementsAre());
}

TEST_F(Identity, AGivenSeedIsPartOfTheRequest) {
  run(cat_, "run-1", base_seed(1));
  EXPECT_THAT(run(cat_, "run-2", base_seed(1)), ElementsAre());
  EXPECT_THAT(run(cat_, "run-3", base_seed(2)), ElementsAre("cat"));
  EXPECT_EQ(because("a"), "seed: 1, now 2");
  EXPECT_EQ(runs_.at(0).seed, 2);
  EXPECT_THAT(run(rows_of("id,prompt,seed\na,cat,2\n"), "run-4"), ElementsAre())
      << "the same number, given by the row";
  EXPECT_THAT(run(cat_, "run-5", drawn_seed(77)), ElementsAre()) << "whoever gives no seed takes any";
}

TEST_F(Identity, ADrawnSeedIsTakenOverFromTheRecord) {
  run(cat_, "run-1", drawn_seed(5));
  EXPECT_THAT(run(cat_, "run-2", drawn_seed(6)), ElementsAre());
  EXPECT_THAT(run(cat_, "run-3", base_seed(5)), ElementsAre()) << "the number that had been drawn";
  EXPECT_THAT(run(cat_, "run-4", base_seed(6)), ElementsAre("cat"));
  std::filesystem::remove(out_ / "a.mp4");
  run(cat_, "run-5", drawn_seed(9));
  EXPECT_EQ(runs_.at(0).seed, 6) << "the record's, as it answers";
  run(rows_of("id,prompt\na,dog\n"), "run-6", drawn_seed(9));
  EXPECT_EQ(runs_.at(0).seed, 6) << "it was kept as drawn";
}

TEST_F(Identity, AStateOfOtherWeightsIsNotUsed) {
  bool stop = false;
  on_step_ = [&](const Request&, int step) { stop = stop || step == 2; };
  const auto with = [&](const std::string& weights) {
    return [&, weights](RunContext& c) {
      c.requests.command_line.sample_steps = 10;
      c.requests.model.weights = weights;
      c.stop.is_requested = [&] { return stop; };
    };
  };
  run(cat_, "run-1", with("w1"));
  stop = false;
  on_step_ = {};
  run(cat_, "run-2", with("w2"));
  EXPECT_THAT(first_steps_, ElementsAre(0));
}

TEST_F(Identity, LatentsOfTheStepsAreMadeIfTheyAreMissing) {
  const Change latents = [](RunContext& c) { c.results.save_latents = true; };
  const Change steps = [](RunContext& c) { c.results.save_latents = c.results.step_latents = true; };
  run(cat_, "run-1", latents);
  EXPECT_THAT(run(cat_, "run-2", steps), ElementsAre("cat"));
  EXPECT_THAT(run(cat_, "run-3", steps), ElementsAre());
  EXPECT_THAT(run(cat_, "run-4", latents), ElementsAre()) << "those of the steps do no harm";
}

TEST_F(Identity, TheEarlierResultIsKeptWithItsRecordAndLatents) {
  const Change latents = [](RunContext& c) { c.results.save_latents = true; };
  run(cat_, "run-1", latents);
  const std::string video = text("a.mp4");
  const std::string record = text("a.json");
  run(rows_of("id,prompt\na,tiger\n"), "run-2");
  EXPECT_THAT(files_in(out_), ElementsAre("a.earlier-1.json", "a.earlier-1.latent.safetensors",
                                          "a.earlier-1.mp4", "a.json", "a.mp4", "run.json"));
  EXPECT_EQ(text("a.earlier-1.mp4"), video);
  EXPECT_EQ(text("a.earlier-1.json"), record);
  EXPECT_EQ(because("a"), "prompt: 'cat', now 'tiger'");
  EXPECT_EQ(read("a.json")["made_again"]["earlier"], "a.earlier-1");
  put("a.earlier-2.mp4", "the user's");
  run(cat_, "run-3");
  EXPECT_EQ(text("a.earlier-2.mp4"), "the user's");
  EXPECT_EQ(read("a.earlier-3.json")["parameters"]["prompt"], "tiger");
  run(rows_of("id,prompt\na.earlier-1,lion\n"), "run-4");
  EXPECT_EQ(text("a.earlier-1.earlier-1.mp4"), video) << "an id like a number's name takes nothing away";
}

TEST_F(Identity, AVideoThatWasChangedIsKept) {
  run(cat_, "run-1");
  put("a.mp4", "the same, with music");
  EXPECT_THAT(run(cat_, "run-2"), ElementsAre("cat"));
  EXPECT_EQ(text("a.earlier-1.mp4"), "the same, with music");
  EXPECT_EQ(because("a"), "a.mp4 is not the file that the record names");
}

TEST_F(Identity, TheSameBytesOnceMoreLeaveNothingBehind) {
  run(cat_, "run-1");
  run(cat_, "run-2", [](RunContext& c) { c.results.resume = false; });
  EXPECT_EQ(result_.counts.made, 1);
  EXPECT_THAT(files_in(out_), ElementsAre("a.json", "a.mp4", "run.json"));
}

TEST_F(Identity, RecordsOfEarlierVersionsDoNotAnswerAndAreKept) {
  run(cat_, "run-1");
  rewrite("a.json", [](json& record) {
    record["parameters"].erase("weights");
    record["parameters"].erase("precision");
  });
  EXPECT_THAT(run(cat_, "run-2"), ElementsAre("cat"));
  EXPECT_THAT(because("a"), HasSubstr("weights: unnamed, because an earlier version wrote the record"));
  EXPECT_FALSE(read("a.earlier-1.json")["parameters"].contains("weights"));
  EXPECT_THAT(run(cat_, "run-3"), ElementsAre());
}

TEST_F(Identity, FilesOfTheUserAreNeverReplaced) {
  const auto rows = rows_of("id,prompt\na,1\nb,2\nc,3\nd,4\ne,5\nf,6\n");
  put("a.json", R"({"notes": "mine"})");
  put("b.mp4", "holidays");
  put("c.failed.json", "[]");
  put("d.latent.safetensors", "mine, and not wanted now");
  std::ofstream(dir_ / "precious") << "mine";
  std::filesystem::create_symlink(dir_ / "precious", out_ / "e.mp4");
  run(rows, "run-1");
  EXPECT_EQ(result_.counts.made, 2) << "d and f";
  EXPECT_EQ(text("a.json"), R"({"notes": "mine"})");
  EXPECT_EQ(text("b.mp4"), "holidays");
  EXPECT_EQ(text("c.failed.json"), "[]");
  EXPECT_EQ(text("d.latent.safetensors"), "mine, and not wanted now");
  EXPECT_EQ(read_text_file(dir_ / "precious", 10), "mine");
  EXPECT_THAT(read("a.failed.json")["message"].get<std::string>(),
              HasSubstr("a.json is not a record of wan_batch"));
  EXPECT_THAT(read("b.failed.json")["message"].get<std::string>(),
              HasSubstr("b.mp4 does not belong to wan_batch"));
  EXPECT_NE(exit_code(result_.counts), ExitCode::done);
  for (const char* name : {"a.json", "b.mp4", "c.failed.json", "e.mp4"}) std::filesystem::remove(out_ / name);
  EXPECT_THAT(run(rows, "run-2"), ElementsAre("1", "2", "3", "5")) << "without being asked to retry";
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
}

TEST_F(Identity, ForASingleRequestTheyAreUsageErrorsBeforeItBegins) {
  const auto message = [&](const std::string& id) {
    return message_of<UsageError>([&] { store::require_free_names(out_, id, false, "--save-file"); });
  };
  EXPECT_EQ(message("a"), "no error") << "not even the folder is there";
  run(cat_, "run-1");
  EXPECT_EQ(message("a"), "no error") << "a result of its own is kept aside";
  put("b.json", "{}");
  EXPECT_THAT(message("b"), HasSubstr("b.json is not a record of wan_batch"));
  put("c.mp4", "mine");
  EXPECT_THAT(message("c"), HasSubstr("c.mp4 does not belong to wan_batch"));
  put("run.json", R"({"distance_km": 10})");
  EXPECT_THAT(message(""), HasSubstr("run.json is not a record of wan_batch"));
}

/// A crash between a video's name and its record's leaves a video without a record: the note tells whose.
TEST_F(Identity, AVideoWhoseRecordACrashPreventedIsItsOwn) {
  const store::OutputFolder folder(out_);
  put("a.mp4", "made and not recorded");
  EXPECT_TRUE(store::find_obstacle(folder, "a", false).has_value());
  const std::string hash = sha256_file_hex(out_ / "a.mp4");
  store::note_outputs(folder, "a", std::string(32, 'a'),
                      {.video = {.bytes = 21, .sha256 = hash}, .latents = {}});
  EXPECT_EQ(store::find_obstacle(folder, "a", false), std::nullopt);
  EXPECT_THAT(run(cat_, "run-1"), ElementsAre("cat"));
  EXPECT_EQ(text("a.earlier-1.mp4"), "made and not recorded") << "the bytes differ: it is kept";
  put("b.mp4", "of the user");
  store::note_outputs(folder, "b", std::string(32, 'a'),
                      {.video = {.bytes = 11, .sha256 = hash}, .latents = {}});
  EXPECT_TRUE(store::find_obstacle(folder, "b", false).has_value()) << "the note is about another file";
}

TEST_F(Identity, ImagesAreReadAgainOnlyIfTheyChanged) {
  kind_ = TaskKind::i2v;
  std::ofstream(dir_ / "x.png") << "pixels";
  const auto rows =
      manifest::parse_manifest("id,image,prompt\na,x.png,cat\nb,x.png,dog\n", dir_ / "m.csv", kind_);
  std::shared_ptr<store::ImageHashes> hashes;
  const Change listen = [&](RunContext& c) { hashes = c.requests.image_hashes; };
  run(rows, "run-1", listen);
  EXPECT_EQ(hashes->files_read(), 1) << "both items have the same image";
  EXPECT_THAT(run(rows, "run-2", listen), ElementsAre());
  EXPECT_EQ(hashes->files_read(), 0);
  std::filesystem::last_write_time(dir_ / "x.png", std::filesystem::file_time_type::clock::now());
  EXPECT_THAT(run(rows, "run-3", listen), ElementsAre());
  EXPECT_EQ(hashes->files_read(), 1) << "another time, the same content";
  std::ofstream(dir_ / "x.png") << "other pixels";
  EXPECT_THAT(run(rows, "run-4", listen), ElementsAre("cat", "dog"));
  EXPECT_THAT(because("a"), ::testing::StartsWith("image_sha256: "));
}

/// Another run's board, as long as the test wants it to live.
class OtherJob {
 public:
  OtherJob(const std::filesystem::path& out, const std::string& run)
      : board_(store::OutputFolder(out).claims(), store::ClaimOwner::this_process(run, "9"),
               {.heartbeat = std::chrono::milliseconds(10), .stale_after = std::chrono::seconds(30)}) {}
  store::ClaimAttempt claim(const std::string& id, const std::string& mark) {
    return board_.try_claim(id, [&] { return mark; });
  }

 private:
  store::Claims board_;
};

TEST_F(Identity, AnIdThatAnotherJobMakesWithOtherValuesFailsItsRow) {
  OtherJob other(out_, "other");
  const store::ClaimAttempt held = other.claim("a", "0123456789abcdef01234567 5");
  EXPECT_THAT(run(rows_of("id,prompt\na,cat\nb,dog\n"), "run-1"), ElementsAre("dog"));
  EXPECT_EQ(result_.counts.failed, 1);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::some_failed);
  EXPECT_THAT(files_in(out_), ElementsAre("b.json", "b.mp4", "run.json")) << "a's names are the other's";
  EXPECT_TRUE(held.claim->is_held());
}

TEST_F(Identity, AnIdThatAnotherJobMakesLikewiseIsLeftToItAndThisIsSaid) {
  OtherJob other(out_, "other");
  const RunContext context = context_for(out_);
  const test::StubEngine engine;
  const store::ClaimAttempt held =
      other.claim("a", store::request_mark(wanted_parameters(cat_.at(0), context, engine.task())));
  EXPECT_THAT(run(cat_, "run-1"), ElementsAre());
  EXPECT_EQ(result_.counts.held, 1);
  EXPECT_EQ(exit_code(result_.counts), ExitCode::done);
  EXPECT_THAT(
      format_summary(result_.outcomes, result_.counts, out_),
      HasSubstr(fmt::format("1 open: another job is working on it (here, process {}, job 9)", ::getpid())
                    .substr(0, 38)));
}

TEST_F(Identity, WhatALivingJobHasMadeIsNotTakenFromIt) {
  run(cat_, "run-1");
  {
    const OtherJob still_alive(out_, "run-1");
    EXPECT_THAT(run(rows_of("id,prompt\na,tiger\n"), "run-2"), ElementsAre());
    EXPECT_EQ(result_.counts.failed, 1);
    EXPECT_EQ(read("a.json")["parameters"]["prompt"], "cat");
  }
  EXPECT_THAT(run(rows_of("id,prompt\na,tiger\n"), "run-3"), ElementsAre("tiger")) << "it has ended";
}

TEST_F(Identity, OpenItemsThatNobodyWorksOnAreNoSuccess) {
  const RunCounts counts{.made = 1, .open = 2, .held = 1};
  EXPECT_EQ(exit_code(counts), ExitCode::failure);
  EXPECT_EQ(exit_reason(counts), "items are left: run again to go on");
  EXPECT_EQ(exit_code({.made = 1, .open = 1, .held = 1}), ExitCode::done);
}

TEST_F(Identity, OnlyNamesWithTheMarkOfTheProgramAreRemoved) {
  const std::string token(32, '0');
  for (const std::string& name :
       std::vector<std::string>{"." + token + ".txt", ".cache." + token + ".txt", ".cache." + token + ".json",
                                ".cache.wan-" + token + ".txt", ".claims/.owner-mine",
                                ".claims/." + token + ".tmp", ".state/.cache." + token + ".safetensors"}) {
    const store::OutputFolder folder(out_);
    put(name, "mine");
  }
  put(".a.wan-" + token + ".mp4", "half a video");
  run(cat_, "run-1", [](RunContext& c) { c.timing.stale_after = {}; });
  EXPECT_THAT(files_in(out_),
              ElementsAre("." + token + ".txt", ".cache." + token + ".json", ".cache." + token + ".txt",
                          ".cache.wan-" + token + ".txt", "a.json", "a.mp4", "run.json"));
  for (const std::string& name : {std::string(".claims/.owner-mine"), ".claims/." + token + ".tmp",
                                  ".state/.cache." + token + ".safetensors"}) {
    EXPECT_EQ(text(name), "mine") << name;
  }
}

}  // namespace
}  // namespace wan::batch
