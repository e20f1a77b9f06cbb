#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "comm/communicator.h"
#include "core/clock.h"
#include "wan/engine.h"

namespace wan::faults {

struct StubOptions {
  double step_s = 0;            ///< duration of each denoising step
  std::size_t video_bytes = 0;  ///< size of a "video"
  double write_s = 0;           ///< duration of writing one
  /// Gets a line "ID RUN PID HEAP_BYTES" for every item that a group begins. HEAP_BYTES is the heap that the
  /// group's leader uses. May be empty.
  std::filesystem::path journal;
  std::string run;  ///< name of this run in the journal
  std::filesystem::path
      steps_journal;  ///< gets a line "ID STEP" for every step that a group makes; may be empty
  /// With so many lines in it, no group begins a step until there is a file JOURNAL.go_on. 0: they never
  /// wait.
  int hold_at_steps = 0;
};

/// Replaces the model. It takes every request through the stages of the real engine, and all ranks of the
/// group take part in each. It writes small files that depend only on the request.
///
/// It announces each stage by accessing a missing file "stage:STAGE:ID:rank", which fault_shim.cpp notices.
/// Stages: text, image, encode, high_noise, low_noise, save, decode, and on the leader write.
class StubEngine final : public Engine {
 public:
  /// `group` must outlive the engine.
  StubEngine(comm::Communicator& group, StubOptions options);

  const Task& task() const override { return task_; }
  /// A request fails if its image is missing or its prompt is "cannot be made".
  void validate(const Request& request) const override;
  bool can_team(const Request& /*request*/, int /*width*/) const override { return false; }
  RequestReport run(const Request& request, const OutputPaths& outputs, Observer& observer,
                    RunControl& control, const Team& team) override;

 private:
  bool leads() const { return group_.rank() == 0; }
  void enter(const std::string& stage, const Request& request);
  void await_go_on() const;
  template <typename Work>
  void phase(const char* name, RequestReport& report, Observer& observer, Work&& work);
  int first_step(const Request& request, const OutputPaths& outputs);
  StepAction agree_on_action(int steps_done, int step_count, RunControl& control);
  void save(int steps_done, const Request& request, const OutputPaths& outputs, RunControl& control);
  RunEnd denoise(const Request& request, const OutputPaths& outputs, Observer& observer, RunControl& control,
                 RequestReport& report);

  comm::Communicator& group_;
  StubOptions options_;
  Task task_;
  Stopwatch clock_;
  std::map<std::string, int> waiting_;  ///< steps done of requests that wait for the second expert, by id
};

/// Tells a watching test that this process has reached `stage` of `what`.
void announce(const std::string& stage, const std::string& what, int rank);

/// The bytes of the "video" that a request makes.
std::string video_content(const Request& request, std::size_t bytes);

}  // namespace wan::faults
