#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "display/status_report.h"
#include "store/batch_record.h"
#include "store/batch_status.h"
#include "store/claims.h"
#include "store/start_mark.h"
#include "store/status_files.h"
#include "stub_group.h"
#include "support/temp_dir.h"

namespace wan::batch {
namespace {

using std::chrono::milliseconds;
using store::parse_utc;
using ::testing::HasSubstr;

constexpr store::StatusTiming quick{
    .fresh = milliseconds(0), .look = milliseconds(300), .poll = milliseconds(5)};
/// Waits for the beat of a living owner, which may come late.
constexpr store::StatusTiming patient{
    .fresh = milliseconds(0), .look = std::chrono::hours(1), .poll = milliseconds(5)};
constexpr const char* token = "0123456789abcdef0123456789abcdef";

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

/// An owner on another machine, which tells progress.
std::string owner_text(const std::string& progress, int beat = 1, const std::string& name = token) {
  const nlohmann::json owner{{"host", "node7"}, {"pid", 4711},          {"job", "99"},
                             {"run", "r1"},     {"machine", "another"}, {"token", name}};
  return fmt::format("{:016}\n{}\n{}\n", beat, owner.dump(), progress);
}

std::string done_text(const std::string& ended, double seconds, std::uint64_t bytes) {
  return nlohmann::json{{"status", "done"},
                        {"ended", ended},
                        {"seconds", seconds},
                        {"outputs", {{"video", {{"bytes", bytes}}}}},
                        {"parameters", {{"sample_steps", 4}}}}
      .dump();
}

void write_done(const std::filesystem::path& folder, const std::string& id, const std::string& ended,
                double seconds) {
  write(folder / (id + ".mp4"), "video");
  write(folder / (id + ".json"), done_text(ended, seconds, 5));
}

TEST(StatusFiles, TimesOfDay) {
  EXPECT_EQ(parse_utc("1970-01-02T00:00:10Z"), 86410.0);
  EXPECT_EQ(parse_utc("2025-11-03T10:00:00Z").value() - parse_utc("2025-11-03T09:59:00Z").value(), 60.0);
  for (const char* bad :
       {"", "2025-11-03", "2025-11-03T10:00:00", "2025-11-03 10:00:00Z", "2025-1x-03T10:00:00Z"})
    EXPECT_FALSE(parse_utc(bad)) << bad;
}

TEST(StatusFiles, ClaimNames) {
  EXPECT_EQ(store::parse_claim_name("cat-1.claim").value().id, "cat-1");
  EXPECT_EQ(store::parse_claim_name("cat.claim.12").value().generation, 12);
  for (const char* bad : {"cat", ".claim", "cat.claim.x", "cat.claim.0", "cat.claim.-1",
                          "cat.claim.99999999999", ".owner-x", "a\nb.claim"})
    EXPECT_FALSE(store::parse_claim_name(bad)) << bad;
}

TEST(StatusFiles, OwnersWithAndWithoutProgress) {
  const auto full =
      store::parse_owner_file(owner_text(R"({"id":"a","step":3,"steps":40,"step_s":1.4,"phase":"denoise"})"))
          .value();
  EXPECT_EQ(full.worker.id, "a");
  EXPECT_EQ(full.worker.step, 3);
  EXPECT_EQ(full.worker.steps, 40);
  EXPECT_EQ(full.worker.step_s, 1.4);
  EXPECT_EQ(full.worker.phase, "denoise");
  EXPECT_EQ(full.worker.host, "node7");
  EXPECT_EQ(full.worker.pid, 4711);
  for (const char* progress : {"{}", "", "{\"id\":", "null", R"({"id":"../x","step":1})", R"({"id":7})"}) {
    const auto idle = store::parse_owner_file(owner_text(progress));
    ASSERT_TRUE(idle) << progress;
    EXPECT_EQ(idle->worker.id, "") << progress;
  }
  const auto odd =
      store::parse_owner_file(owner_text(R"({"id":"a","step":1e300,"steps":-4,"step_s":"x","phase":[]})"));
  EXPECT_EQ(odd.value().worker.steps, 0);
  EXPECT_EQ(odd.value().worker.step, 0);
  for (const char* bad : {"", "1", "1\n", "1\n[]\n", "1\n{}\n", "1\n{\"token\":\"x\",\"host\":\"h\"}\n"})
    EXPECT_FALSE(store::parse_owner_file(bad)) << bad;
  EXPECT_FALSE(store::parse_owner_file("1\n" + std::string(10'000, '[')));
}

TEST(StatusFiles, CoveredTimeCountsOverlapsOnceAndBreaksNot) {
  EXPECT_EQ(store::covered_s({{0, 10}, {5, 12}, {20, 30}, {21, 22}}, 0, 100), 22);
  EXPECT_EQ(store::covered_s({{0, 10}, {5, 12}, {20, 30}}, 8, 25), 9);
  EXPECT_EQ(store::covered_s({}, 0, 10), 0);
  EXPECT_EQ(store::covered_s({{5, 1}}, 0, 10), 0);
}

TEST(BatchStatus, CountsAFinishedBatch) {
  const wan::test::TempDir folder;
  test::StubEngine engine;
  test::AloneGroup group;
  test::Recorder recorder;
  const RunContext context = test::context_for(folder.path());
  const auto rows = test::rows_of("id,prompt\na,one\nb,cannot be made\nc,three\n");
  store::write_batch_record(context.folder, {.manifest = "manifest.csv", .rows = 5});
  TeamLetters teams;
  const GroupCounts counts = run_group(engine, group, rows, context, recorder, teams);
  finish_run(group, counts, rows, context, engine.task());

  const store::BatchStatus status = store::read_status(folder.path(), quick);
  EXPECT_EQ(status.rows, 5);
  EXPECT_EQ(status.done, 2);
  EXPECT_EQ(status.failed, 1);
  EXPECT_EQ(status.running, 0);
  EXPECT_EQ(status.open(), 2) << "of another shard";
  EXPECT_FALSE(status.is_running());
  ASSERT_EQ(status.failures.size(), 1U);
  EXPECT_EQ(status.failures[0].id, "b");
  EXPECT_EQ(status.failures[0].stage, "image");
  EXPECT_EQ(status.last_run.value().run, "run-1");
  EXPECT_EQ(status.last_run.value().exit_code, 3);
  const std::string text = display::status_text(status, folder.path());
  EXPECT_THAT(text, HasSubstr("stopped\nitems       5: 2 done, 1 failed, 0 running, 2 open\n"));
  EXPECT_THAT(text, HasSubstr("b  image: b is a stub's bad image"));

  ::unlink((folder / "c.mp4").c_str());
  EXPECT_EQ(store::read_status(folder.path(), quick).done, 1) << "a record without its video is not done";
}

TEST(BatchStatus, RateAndTimeLeftComeFromTheRecords) {
  const wan::test::TempDir folder;
  // Two groups side by side for 20 minutes, a break of a day, then one item in 10 minutes.
  write_done(folder.path(), "a", "2025-11-03T10:10:00Z", 600);
  write_done(folder.path(), "b", "2025-11-03T10:10:00Z", 600);
  write_done(folder.path(), "c", "2025-11-03T10:20:00Z", 600);
  write_done(folder.path(), "d", "2025-11-03T10:20:00Z", 600);
  write_done(folder.path(), "e", "2025-11-04T10:10:00Z", 600);
  store::write_batch_record(store::OutputFolder(folder.path()), {.manifest = "m.csv", .rows = 7});
  write(folder / ".state/f.json", "record of a state");
  write(folder / (".state/f.3." + std::string(32, 'd') + ".safetensors"), "the state");
  write(folder / ".state/a.json", "record of a finished item's state");
  const store::BatchStatus status = store::read_status(folder.path(), quick);
  EXPECT_DOUBLE_EQ(status.last_hour_items_per_hour, 6);
  EXPECT_DOUBLE_EQ(status.overall_items_per_hour, 10);
  EXPECT_DOUBLE_EQ(status.left_s.value(), 1200);
  EXPECT_EQ(status.saved, 1);
  const std::string text = display::status_text(status, folder.path());
  EXPECT_THAT(text, HasSubstr("2 open (1 of them saved in mid-way)"));
  EXPECT_THAT(text, HasSubstr("6.0 items/h in the last hour of work, 10.0 overall"));
  EXPECT_THAT(text, HasSubstr("about 20 min of work, once it runs again"));
}

store::BatchRecord listing(const std::string& manifest, const std::vector<store::BatchItem>& items) {
  return {.manifest = manifest, .rows = std::ssize(items), .items = items};
}

/// An item of a manifest that took `seconds`, of which its steps took `steps_s`.
void write_made(const std::filesystem::path& folder, const std::string& id, const std::string& ended,
                double seconds, double steps_s) {
  nlohmann::json fields = nlohmann::json::parse(done_text(ended, seconds, 5));
  fields["id"] = id;
  fields["manifest"] = {{"file", "m.csv"}, {"line", 2}};
  fields["median_step_s"] = steps_s / 4;
  write(folder / (id + ".mp4"), "video");
  write(folder / (id + ".json"), fields.dump());
}

TEST(BatchStatus, AManifestNamedByTwoPathsCountsOnce) {
  const wan::test::TempDir folder;
  const store::OutputFolder out(folder / "out");
  write(folder / "m.csv", "rows");
  std::filesystem::create_symlink(folder / "m.csv", folder / "link.csv");
  for (const std::filesystem::path& path : {folder / "m.csv", folder / "out/../m.csv", folder / "link.csv",
                                            std::filesystem::relative(folder / "m.csv")})
    store::write_batch_record(out, listing(path.string(), {{"a", {}}, {"b", {}}}));
  EXPECT_EQ(store::read_status(out.path(), quick).rows, 2);
  EXPECT_EQ(store::read_batch_records(out.claims()).size(), 1U);
  // A copy lists the same items, and an item is its id.
  store::write_batch_record(out, listing((folder / "copy.csv").string(), {{"a", {}}, {"b", {}}, {"c", {}}}));
  EXPECT_EQ(store::read_status(out.path(), quick).rows, 3);
}

TEST(BatchStatus, ARowThatWasTakenOutLeavesTheOthersOpen) {
  const wan::test::TempDir folder;
  const store::OutputFolder out(folder.path());
  for (const char* id : {"a", "b", "c"}) write_made(folder.path(), id, "2025-11-03T10:10:00Z", 600, 400);
  write_done(folder.path(), "single", "2025-11-03T10:10:00Z", 600);
  store::write_batch_record(out, listing("m.csv", {{"a", {}}, {"b", {}}, {"d", {}}}));
  const store::BatchStatus status = store::read_status(folder.path(), quick);
  EXPECT_EQ(status.rows, 4) << "a, b, d and the single request";
  EXPECT_EQ(status.done, 3);
  EXPECT_EQ(status.open(), 1);
  EXPECT_EQ(status.former, 1);
  const std::string text = display::status_text(status, folder.path());
  EXPECT_THAT(text, HasSubstr("stopped\nitems       4: 3 done, 0 failed, 0 running, 1 open\n"));
  EXPECT_THAT(text, HasSubstr("1 more of rows that the manifest no longer lists"));
}

TEST(BatchStatus, AnEarlierResultThatWasKeptAsideIsNoItem) {
  const wan::test::TempDir folder;
  write_made(folder.path(), "a", "2025-11-03T10:10:00Z", 600, 400);
  std::filesystem::copy(folder / "a.json", folder / "a.earlier-1.json");
  std::filesystem::copy(folder / "a.mp4", folder / "a.earlier-1.mp4");
  EXPECT_EQ(store::read_status(folder.path(), quick).rows, 1);
}

TEST(BatchStatus, TheStateOfARunningItemIsNoOpenItem) {
  const wan::test::TempDir folder;
  const store::OutputFolder out(folder.path());
  store::write_batch_record(out, listing("m.csv", {{"a", {}}, {"b", {}}}));
  write(folder / ".claims/a.claim",
        owner_text(R"({"id":"a","step":3,"steps":4,"step_s":1,"phase":"denoise"})"));
  for (const std::string id : {"a", "b"}) {
    write(folder / ".state" / (id + ".json"), "record");
    write(folder / ".state" / fmt::format("{}.3.{}.safetensors", id, std::string(32, 'd')), "state");
  }
  const store::BatchStatus status = store::read_status(folder.path());  // the claim was written a moment ago
  EXPECT_EQ(status.running, 1);
  EXPECT_EQ(status.open(), 1);
  EXPECT_EQ(status.saved, 1) << "b's";
  std::filesystem::remove(folder / ".state/b.json");
  EXPECT_EQ(store::read_status(folder.path()).saved, 0);
}

TEST(BatchStatus, ARunThatLoadsItsCheckpointIsRunning) {
  const wan::test::TempDir folder;
  {
    store::StartMark mark(folder / "new/out", "r1", "12", {});
    const store::BatchStatus status = store::read_status(folder / "new/out");
    EXPECT_TRUE(status.is_running());
    EXPECT_EQ(status.rows, 0);
    ASSERT_EQ(status.workers.size(), 1U);
    EXPECT_EQ(status.workers[0].job, "12");
    const std::string text = display::status_text(status, folder / "new/out");
    EXPECT_THAT(text, HasSubstr(": running\n"));
    EXPECT_THAT(text, HasSubstr("loads the checkpoint"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "new")) << "a checkpoint that cannot be used leaves nothing";
  {
    store::StartMark mark(folder / "new/out", "r1", "", {});
    mark.keep_folder();
  }
  EXPECT_TRUE(std::filesystem::is_directory(folder / "new/out/.claims"));
  EXPECT_TRUE(store::names_in(folder / "new/out/.claims").empty());
}

TEST(BatchStatus, TheTimeLeftIsWeighedByTheRowsWork) {
  const wan::test::TempDir folder;
  const store::OutputFolder out(folder.path());
  // Two small items of 100 s, of which 80 s are steps; a large one has 9 times the steps' work and 4 times
  // the rest.
  const store::ItemWork small{.steps = 1, .rest = 1};
  const store::ItemWork large{.steps = 9, .rest = 4};
  store::write_batch_record(out, listing("m.csv", {{"a", small}, {"b", small}, {"c", small}, {"d", large}}));
  write_made(folder.path(), "a", "2025-11-03T10:10:00Z", 100, 80);
  write_made(folder.path(), "b", "2025-11-03T10:11:40Z", 100, 80);
  EXPECT_NEAR(store::read_status(folder.path(), quick).left_s.value(), 100 + 9 * 80 + 4 * 20, 1e-9);
  // Half of the large one's steps are done.
  write(folder / ".claims/d.claim",
        owner_text(R"({"id":"d","step":2,"steps":4,"step_s":180,"phase":"denoise"})"));
  EXPECT_NEAR(store::read_status(folder.path()).left_s.value(), 100 + 9 * 40 + 4 * 20, 1e-9);
}

TEST(BatchStatus, ShowsWhoWorksOnWhat) {
  const wan::test::TempDir folder;
  const RunContext context = test::context_for(folder.path());
  store::write_batch_record(context.folder, {.manifest = "m.csv", .rows = 3});
  store::Claims board(context.folder.claims(), store::ClaimOwner::this_process("r1", "12"), context.timing);
  const store::ClaimAttempt claim = board.try_claim("a");
  ASSERT_TRUE(claim.claim);
  // Another host's owner, which a thread of the test keeps alive.
  const std::string name = fmt::format(".owner-{}", token);
  const std::string progress = R"({"id":"b","step":10,"steps":40,"step_s":2,"phase":"denoise"})";
  write(context.folder.claims() / name, owner_text(progress));
  std::filesystem::create_hard_link(context.folder.claims() / name, context.folder.claims() / "b.claim");
  std::jthread heart([&](const std::stop_token& stop) {
    for (int beat = 2; !stop.stop_requested(); ++beat) {
      std::fstream(context.folder.claims() / name) << fmt::format("{:016}\n", beat);
      std::this_thread::sleep_for(milliseconds(10));
    }
  });
  const store::BatchStatus status = store::read_status(folder.path(), patient);
  EXPECT_EQ(status.running, 2);
  EXPECT_EQ(status.open(), 1);
  EXPECT_TRUE(status.is_running());
  ASSERT_EQ(status.workers.size(), 2U);
  const bool first_is_far = status.workers[0].host == "node7";
  const store::WorkerStatus& far = status.workers[first_is_far ? 0 : 1];
  const store::WorkerStatus& own = status.workers[first_is_far ? 1 : 0];
  EXPECT_EQ(own.id, "a");
  EXPECT_EQ(own.pid, ::getpid());
  EXPECT_EQ(own.job, "12");
  EXPECT_EQ(far.id, "b");
  EXPECT_EQ(far.step, 10);
  EXPECT_TRUE(own.is_alive && far.is_alive);
  EXPECT_NEAR(status.left_s.value(), (3 - 0.25) * 80, 1e-9) << "by the only steps that are known";
  EXPECT_THAT(display::status_text(status, folder.path()), HasSubstr("10/40"));
}

TEST(BatchStatus, TheDeadAreToldFromTheLiving) {
  const wan::test::TempDir folder;
  const std::filesystem::path claims = folder / ".claims";
  // Silent, of another machine.
  write(claims / "a.claim", owner_text(R"({"id":"a","step":3,"steps":4,"step_s":1,"phase":"denoise"})"));
  // A process of this machine that is gone, taken over from one that was gone before.
  store::ClaimOwner self = store::ClaimOwner::this_process("r", "");
  const nlohmann::json gone{{"host", "here"}, {"pid", 2'000'000'000},    {"job", ""},
                            {"run", "r"},     {"machine", self.machine}, {"token", std::string(32, 'a')}};
  write(claims / "b.claim", owner_text("{}", 1, std::string(32, 'b')));
  write(claims / "b.claim.1", "0000000000000001\n" + gone.dump() + "\n{}\n");
  // Litter: an owner that holds nothing.
  write(claims / (".owner-" + std::string(32, 'c')), owner_text("{}", 1, std::string(32, 'c')));
  const store::BatchStatus status = store::read_status(folder.path(), quick);
  EXPECT_EQ(status.running, 0);
  EXPECT_FALSE(status.is_running());
  ASSERT_EQ(status.workers.size(), 2U);
  EXPECT_EQ(status.workers[0].id, "b");
  EXPECT_EQ(status.workers[0].pid, 2'000'000'000);
  EXPECT_EQ(status.workers[1].id, "a");
  EXPECT_FALSE(status.workers[0].is_alive || status.workers[1].is_alive);
  EXPECT_THAT(display::status_text(status, folder.path()), HasSubstr("dead: the next run takes it over"));
}

TEST(BatchStatus, AFreshOwnerIsNotWaitedFor) {
  const wan::test::TempDir folder;
  write(folder / ".claims/a.claim", owner_text("{}"));
  EXPECT_EQ(store::read_status(folder.path(), {.look = std::chrono::hours(1)}).running, 1);
}

TEST(BatchStatus, FilesMayBeAnything) {
  const wan::test::TempDir folder;
  const std::filesystem::path claims = folder / ".claims";
  std::filesystem::create_directory(claims);
  const std::string deep = std::string(100'000, '[');
  for (const char* name :
       {"a.json", "b.failed.json", "run.json", ".claims/a.claim", ".claims/.batch-1.json"}) {
    for (const std::string& text :
         {std::string(), std::string("{"), std::string("null"), std::string("[1]"), deep, "1\n" + deep,
          std::string(R"({"status":7,"rows":"x","ended":{}})"), std::string("\0\xff\xfe", 3),
          std::string(R"({"status":"done","ended":"2025-11-03T10:00:00Z","outputs":[]})")}) {
      write(folder / name, text);
      const store::BatchStatus status = store::read_status(folder.path(), quick);
      EXPECT_EQ(status.done + status.running, 0);
      EXPECT_TRUE(nlohmann::json::accept(display::status_json(status, folder.path())));
      EXPECT_FALSE(display::status_text(status, folder.path()).empty());
    }
  }
  write(claims / ".batch-2.json", R"({"manifest":"m","rows":9000000000000000000})");
  ASSERT_EQ(::mkfifo((folder / "pipe.json").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo((claims / "pipe.claim").c_str(), 0600), 0);
  std::filesystem::create_directory(folder / "folder.json");
  std::filesystem::create_symlink("/dev/zero", folder / "zero.json");
  std::filesystem::create_symlink("/dev/zero", claims / "zero.claim");
  write(folder / "c.failed.json",
        R"({"status":"failed","stage":"\u001b[31m","message":"\u001b]0;title\u0007"})");
  const store::BatchStatus status = store::read_status(folder.path(), quick);
  EXPECT_EQ(status.rows, 1);
  EXPECT_EQ(status.failed, 1);
  EXPECT_EQ(display::status_text(status, folder.path()).find('\x1b'), std::string::npos);
}

TEST(BatchStatus, OnlyReads) {
  const wan::test::TempDir folder;
  write_done(folder.path(), "a", "2025-11-03T10:10:00Z", 600);
  write(folder / ".claims/b.claim", owner_text("{}"));
  const auto contents = [&] {
    std::map<std::string, std::filesystem::file_time_type> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
      found[entry.path().string()] = std::filesystem::last_write_time(entry.path());
    return found;
  };
  const auto before = contents();
  store::read_status(folder.path(), quick);
  EXPECT_EQ(contents(), before);
}

TEST(BatchStatus, WhatIsNoOutputFolderIsRefused) {
  const wan::test::TempDir folder;
  const auto message = [](const std::filesystem::path& path) {
    return test::message_of<UsageError>([&] { store::read_status(path, quick); });
  };
  EXPECT_THAT(message(folder / "absent"), HasSubstr("is not a folder"));
  EXPECT_THAT(message(folder.path()), HasSubstr("holds nothing of wan_batch"));
  write(folder / "notes.json", "{}");
  EXPECT_THAT(message(folder.path()), HasSubstr("holds nothing of wan_batch"));
}

}  // namespace
}  // namespace wan::batch
