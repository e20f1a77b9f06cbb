#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "batch/runner.h"
#include "core/file.h"
#include "stub_group.h"
#include "support/temp_dir.h"

namespace wan::batch::test {

/// Runs of a manifest with a stub engine, into one output folder.
class Runner : public ::testing::Test {
 protected:
  /// Runs the manifest as run `name` and returns the prompts of the items made.
  std::vector<std::string> run(const std::vector<manifest::ManifestRow>& rows, const std::string& name,
                               const std::function<void(RunContext&)>& change = {}) {
    RunContext context = context_for(out_, name);
    if (change) change(context);
    StubEngine engine(kind_);
    held_ = &engine.held;
    engine.on_run = on_run_;
    AloneGroup group;
    Recorder recorder;
    recorder.problem = &storage_problem_;
    engine.on_validate = on_validate_;
    engine.on_step = on_step_;
    engine.on_write = on_write_;
    engine.leaner = leaner_;
    TeamLetters teams;
    counts_ = run_group(engine, group, rows, context, recorder, teams);
    result_ = finish_run(group, counts_, rows, context, engine.task());
    std::vector<std::string> prompts;
    for (const Request& request : engine.runs) prompts.push_back(request.prompt);
    runs_ = engine.runs;
    most_held_ = engine.held.most;
    ended_ = recorder.ended;
    first_steps_ = engine.first_steps;
    return prompts;
  }
  nlohmann::json read(const std::string& name) const {
    return nlohmann::json::parse(read_text_file(out_ / name, 1 << 20));
  }

  wan::test::TempDir dir_;
  std::filesystem::path out_ = dir_ / "out";
  TaskKind kind_ = TaskKind::t2v;
  std::function<void(const Request&, const OutputPaths&)> on_run_;
  std::function<void(const Request&, int step)> on_step_;
  std::function<void(const Request&)> on_validate_;
  StubOutputs::OnWrite on_write_;
  std::string storage_problem_;  ///< that the observer tells of
  bool stops_ = false;           ///< for tests that stop a run
  int runs_seen_ = 0;
  std::string leaner_;  ///< what the engine can change to need less memory
  GroupCounts counts_;
  RunResult result_;
  std::vector<Request> runs_;
  std::vector<int> first_steps_;
  const StubOutputs::Held* held_ = nullptr;  ///< during a run
  int most_held_ = 0;                        ///< items whose outputs were held at the same time
  std::vector<ItemOutcome> ended_;
};

}  // namespace wan::batch::test
