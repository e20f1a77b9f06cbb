#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/checksum.h"
#include "core/strings.h"
#include "runner_fixture.h"
#include "store/earlier.h"

namespace wan::batch {
namespace {

using nlohmann::json;
using test::files_in;
using test::rows_of;
using test::Runner;
using test::StubEngine;

/// Several processes of one manifest; `kill_some` of them end by SIGKILL in the middle of an item.
class Processes : public Runner {
 protected:
  enum class Stage { none, before_video, after_video, between_renames };

  /// A worker that writes one byte to `made` for each item its engine ran.
  pid_t spawn(const std::vector<manifest::ManifestRow>& rows, const std::string& name, Stage kill_at,
              int kill_after) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    int runs = 0;
    on_run_ = [&](const Request& request, const OutputPaths& outputs) {
      ++runs;
      const bool is_doomed = kill_at != Stage::none && runs > kill_after;
      if (is_doomed && kill_at == Stage::before_video) ::kill(::getpid(), SIGKILL);
      if (is_doomed && kill_at == Stage::after_video) {
        std::ofstream(outputs.video) << "half a video";
        ::kill(::getpid(), SIGKILL);
      }
      if (is_doomed && kill_at == Stage::between_renames) {
        std::ofstream(outputs.video) << StubEngine::content(request);
        const store::OutputFile video{.bytes = std::filesystem::file_size(outputs.video),
                                      .sha256 = sha256_file_hex(outputs.video)};
        store::note_outputs(store::OutputFolder(out_), request.id, random_token(),
                            {.video = video, .latents = {}});
        std::filesystem::rename(outputs.video, out_ / (request.id + ".mp4"));
        ::kill(::getpid(), SIGKILL);
      }
      std::ofstream(dir_ / "log", std::ios::app) << request.id + "\n";
    };
    try {
      run(rows, name);
    } catch (const std::exception& error) {
      std::fputs(error.what(), stderr);
      ::_exit(9);
    }
    ::_exit(0);
  }
  static int wait_for(pid_t child) {
    int status = 0;
    return ::waitpid(child, &status, 0) == child ? status : -1;
  }
  std::vector<std::string> log() const {
    std::ifstream file(dir_ / "log");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  void expect_complete(const std::vector<manifest::ManifestRow>& rows) {
    std::vector<std::string> expected{"run.json"};
    for (const manifest::ManifestRow& row : rows) {
      expected.push_back(row.id + ".json");
      expected.push_back(row.id + ".mp4");
    }
    std::ranges::sort(expected);
    EXPECT_EQ(files_in(out_), expected);
    for (const manifest::ManifestRow& row : rows) {
      const json sidecar = read(row.id + ".json");
      EXPECT_EQ(sidecar["outputs"]["video"]["sha256"], sha256_file_hex(out_ / (row.id + ".mp4")));
    }
    EXPECT_TRUE(std::filesystem::is_empty(out_ / ".claims"));
  }
  static std::vector<manifest::ManifestRow> many_rows(int count) {
    std::string text = "id,prompt\n";
    for (int i = 0; i < count; ++i) text += fmt::format("i{},cat {}\n", i, i);
    return rows_of(text);
  }
};

TEST_F(Processes, ManyAtOnceMakeEachItemOnce) {
  const auto rows = many_rows(60);
  constexpr int processes = 12;
  std::vector<pid_t> children;
  children.reserve(processes);
  for (int i = 0; i < processes; ++i)
    children.push_back(spawn(rows, fmt::format("run-{}", i), Stage::none, 0));
  for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
  const auto made = log();
  EXPECT_EQ(made.size(), rows.size());
  EXPECT_EQ(std::set<std::string>(made.begin(), made.end()).size(), rows.size());
  expect_complete(rows);
}

TEST_F(Processes, KilledAtAnyStageNothingIsLostOrDoubledOnRerun) {
  const auto rows = many_rows(6);
  for (const Stage stage : {Stage::before_video, Stage::after_video, Stage::between_renames}) {
    for (int after = 0; after < 4; ++after) {
      std::filesystem::remove_all(out_);
      std::filesystem::remove(dir_ / "log");
      const int status = wait_for(spawn(rows, "run-1", stage, after));
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
      EXPECT_EQ(wait_for(spawn(rows, "run-2", Stage::none, 0)), 0);
      const auto made = log();
      EXPECT_EQ(made.size(), rows.size()) << "each item finished once";
      EXPECT_EQ(std::set<std::string>(made.begin(), made.end()).size(), rows.size());
      expect_complete(rows);
    }
  }
}

TEST_F(Processes, KilledAtRandomMomentsUntilDone) {
  const auto rows = many_rows(40);
  int kills = 0;
  for (int start = 0; start < 30; ++start) {
    const pid_t child = spawn(rows, fmt::format("run-{}", start), Stage::none, 0);
    ::usleep(static_cast<useconds_t>(1000 + start * 700));
    ::kill(child, SIGKILL);
    const int status = wait_for(child);
    kills += WIFSIGNALED(status) ? 1 : 0;
    if (!std::filesystem::exists(out_)) continue;  // killed before it began
    for (const std::string& name : files_in(out_)) {
      if (!name.ends_with(".json") || name.starts_with('.')) continue;
      EXPECT_NO_THROW(read(name)) << name << " is whole";
    }
  }
  EXPECT_GT(kills, 0);
  EXPECT_EQ(wait_for(spawn(rows, "last", Stage::none, 0)), 0);
  // A row at which three of the processes were killed has failed, and says so; nothing else is missing.
  for (const manifest::ManifestRow& row : rows) {
    if (std::filesystem::exists(out_ / (row.id + ".json"))) continue;
    EXPECT_EQ(read(row.id + ".failed.json")["stage"], "crash") << row.id;
  }
  run(rows, "retried", [](RunContext& context) { context.results.retry_failed = true; });
  for (const manifest::ManifestRow& row : rows) {
    const json sidecar = read(row.id + ".json");
    EXPECT_EQ(sidecar["outputs"]["video"]["sha256"], sha256_file_hex(out_ / (row.id + ".mp4")));
  }
}

}  // namespace
}  // namespace wan::batch
