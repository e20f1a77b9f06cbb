#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch/run_record.h"
#include "batch/runner.h"
#include "comm/communicator.h"
#include "core/check.h"
#include "model/model_kind.h"
#include "support/message_of.h"
#include "wan/engine.h"

namespace wan::batch::test {

using wan::test::message_of;

/// A group of one rank.
class AloneGroup final : public comm::Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::string& name() const override { return name_; }
  comm::Ticket all_gather(std::span<const std::byte> send, std::span<std::byte> receive) override {
    std::memmove(receive.data(), send.data(), send.size());
    return {};
  }
  comm::Ticket all_to_all(std::span<const std::byte> send, std::span<std::byte> receive) override {
    return all_gather(send, receive);
  }
  comm::Ticket all_reduce(std::span<float>, comm::ReduceOp) override { return {}; }
  comm::Ticket all_reduce(std::span<std::int64_t>, comm::ReduceOp) override { return {}; }
  comm::Ticket broadcast(std::span<std::byte>, int) override {
    ++broadcasts;
    return {};
  }
  comm::Ticket exchange(std::span<const comm::PeerTransfer>) override { return {}; }
  comm::Ticket barrier() override { return {}; }
  const comm::Traffic& traffic() const override { return traffic_; }

  int broadcasts = 0;

 private:
  std::string name_ = "group";
  comm::Traffic traffic_;
};

/// The small files of a request, on their way to the disk.
class StubOutputs final : public UnwrittenOutputs {
 public:
  /// Called before the files are written, in the thread that writes; false: the writing was given up.
  using OnWrite = std::function<bool(const Request& request, const std::function<bool()>& is_given_up)>;
  /// Counts the outputs that hold memory.
  struct Held {
    std::atomic<int> now = 0;
    std::atomic<int> most = 0;
  };
  StubOutputs(Request request, OutputPaths paths, std::string content, OnWrite on_write, Held& held)
      : request_(std::move(request)),
        paths_(std::move(paths)),
        content_(std::move(content)),
        on_write_(std::move(on_write)),
        held_(held) {
    const int now = ++held_.now;
    for (int most = held_.most; most < now;) held_.most.compare_exchange_weak(most, now);
  }
  StubOutputs(const StubOutputs&) = delete;
  StubOutputs& operator=(const StubOutputs&) = delete;
  StubOutputs(StubOutputs&&) = delete;
  StubOutputs& operator=(StubOutputs&&) = delete;
  ~StubOutputs() override { --held_.now; }
  void write_state() override { std::ofstream(paths_.state) << request_.sample_steps; }
  bool write(const std::function<bool()>& is_given_up) override {
    std::ofstream(paths_.video) << content_;
    if (on_write_ && !on_write_(request_, is_given_up)) return false;
    if (!paths_.latents.empty()) std::ofstream(paths_.latents) << "latents of " << content_;
    return true;
  }

 private:
  Request request_;
  OutputPaths paths_;
  std::string content_;
  OnWrite on_write_;
  Held& held_;
};

/// Makes small files that depend on the request alone, as a video does.
class StubEngine final : public Engine {
 public:
  explicit StubEngine(TaskKind kind = TaskKind::t2v)
      : task_(model::model_kind(kind == TaskKind::i2v ? "i2v-A14B" : "t2v-A14B").as_task()) {}

  const Task& task() const override { return task_; }
  void validate(const Request& request) const override {
    if (on_validate) on_validate(request);
    if (request.prompt == "cannot be made") fail_item("image", "{} is a stub's bad image", request.id);
  }
  bool can_team(const Request& /*request*/, int width) const override { return width <= largest_width; }
  RequestReport run(const Request& request, const OutputPaths& outputs, Observer& observer,
                    RunControl& control, const Team& team) override {
    runs.push_back(request);
    widths.push_back(team.width);
    if (on_run) on_run(request, outputs);
    if (on_events) on_events(observer);
    RequestReport report;
    const auto waiting = waiting_.extract(request.id);
    report.first_step = team.width > 1 ? handed_over_ : waiting ? waiting.mapped() : resumed_step(outputs);
    first_steps.push_back(report.first_step);
    for (report.steps_done = report.first_step;; ++report.steps_done) {
      const StepAction action = control.next_action(report.steps_done, request.sample_steps);
      const Draft& draft = outputs.draft;
      if (draft.is_wanted() && report.steps_done >= draft.after_step && action != StepAction::stop &&
          report.steps_done < request.sample_steps) {
        std::ofstream(outputs.state) << report.steps_done;
        control.on_state(report.steps_done);
        std::ofstream(outputs.video) << "preview of " << content(request) << report.steps_done;
        report.end = RunEnd::drafted;
        return report;
      }
      const int high_noise_steps = (request.sample_steps + 1) / 2;
      if (outputs.first_expert_only && report.steps_done >= high_noise_steps &&
          report.steps_done < request.sample_steps && action != StepAction::stop) {
        if (report.steps_done > report.first_step) {
          std::ofstream(outputs.state) << report.steps_done;
          control.on_state(report.steps_done);
        }
        waiting_.insert_or_assign(request.id, report.steps_done);
        report.end = RunEnd::waits;
        return report;
      }
      if (action == StepAction::hand_over) {
        report.end = RunEnd::handed_over;
        handed_over_ = report.steps_done;
        return report;
      }
      if (action != StepAction::go_on && report.steps_done > 0) {
        std::ofstream(outputs.state) << report.steps_done;
        control.on_state(report.steps_done);
      }
      if (action == StepAction::stop) {
        report.end = RunEnd::stopped;
        return report;
      }
      if (report.steps_done == request.sample_steps) break;
      const Expert expert = report.steps_done < high_noise_steps ? Expert::high_noise : Expert::low_noise;
      if (experts.empty() || experts.back() != expert) experts.push_back(expert);
      if (on_step) on_step(request, report.steps_done);
    }
    observer.on_phase({.phase = "text", .start_s = 0, .wall_s = 0.001, .sent_bytes = 0});
    control.on_outputs(std::make_unique<StubOutputs>(request, outputs, content(request), on_write, held));
    report.size = {64, 32};
    report.frames = request.frame_num;
    report.layout = "alone";
    report.device = "cpu";
    report.precision = "fp32";
    report.phase_s = {{"text", 0.001}};
    report.median_step_s = 0.5;
    return report;
  }
  static int resumed_step(const OutputPaths& outputs) {
    int step = 0;
    if (!outputs.resume_from.empty()) std::ifstream(outputs.resume_from) >> step;
    return step;
  }
  static std::string content(const Request& request) {
    return fmt::format("{} {} {} {}\n", request.id, request.prompt, request.seed, request.sample_steps);
  }

  std::string make_leaner() override { return std::exchange(leaner, {}); }

  std::string leaner;     ///< what the next make_leaner() changes
  int largest_width = 1;  ///< of teams
  std::vector<Request> runs;
  std::vector<int> widths;       ///< of the team, for each run
  std::vector<int> first_steps;  ///< of each run
  std::vector<Expert> experts;   ///< each one that was taken in place of another
  std::function<void(const Request&)> on_validate;
  std::function<void(const Request&, const OutputPaths&)> on_run;
  std::function<void(Observer&)> on_events;
  std::function<void(const Request&, int step)> on_step;
  StubOutputs::OnWrite on_write;
  StubOutputs::Held held;

 private:
  Task task_;
  int handed_over_ = 0;                 ///< steps of the item that a team is to go on with
  std::map<std::string, int> waiting_;  ///< steps of requests that wait for the second expert
};

/// Keeps what happened to the items.
class Recorder final : public ItemObserver {
 public:
  void on_phase(const PhaseEvent&) override {}
  void on_step(const StepEvent&) override {}
  void on_item_start(const ItemStart& start) override { started.push_back(start.request.id); }
  void on_item_waits(const std::string& id) override { waited.push_back(id); }
  void on_item_end(const ItemOutcome& outcome) override { ended.push_back(outcome); }
  std::string storage_problem() const override { return problem == nullptr ? std::string() : *problem; }

  std::vector<std::string> started;
  std::vector<std::string> waited;
  std::vector<ItemOutcome> ended;
  const std::string* problem = nullptr;
};

inline RunContext context_for(const std::filesystem::path& folder, const std::string& run = "run-1") {
  RunContext context{
      .folder = store::OutputFolder(folder),
      .requests = {},
      .results = {},
      .origin = {},
      .job = {},
      .place = {},
      .stop = {},
      // Who dies in a test ends its process. Nobody is dead because the machine is slow.
      .timing = {.heartbeat = std::chrono::milliseconds(20), .stale_after = std::chrono::hours(1)}};
  context.origin.run = run;
  context.origin.host = "here";
  context.origin.manifest = "manifest.csv";
  context.origin.command = {"wan_batch", "--ckpt-dir", "my models"};
  context.origin.request_options = [](const Request& request) {
    return std::vector<std::string>{"--prompt=" + request.prompt};
  };
  context.requests.model = {.weights = "0123456789abcdef", .precision = "fp32"};
  return context;
}

inline std::vector<manifest::ManifestRow> rows_of(const std::string& csv, TaskKind kind = TaskKind::t2v) {
  return manifest::parse_manifest(csv, "manifest.csv", kind);
}

/// Names of all files in a folder that are not its claims folder.
inline std::vector<std::string> files_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != ".claims" && name != ".state") names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace wan::batch::test
