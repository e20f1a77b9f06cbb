#include "faults/stub_engine.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "comm/first_message.h"
#include "core/check.h"
#include "core/file.h"
#include "model/model_kind.h"

namespace wan::faults {
namespace {

constexpr std::size_t write_bytes = 16U << 10;  // so that a file takes several writes, as a video does

void append_line(const std::filesystem::path& path, const std::string& line) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  // One write, so that lines of several processes do not mix.
  if (!file || ::write(file.get(), line.data(), line.size()) != std::ssize(line)) {
    fail("cannot append to the journal {}: {}", path.string(), std::strerror(errno));
  }
}

std::ptrdiff_t count_lines(const std::filesystem::path& path) {
  std::ifstream file(path);
  return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) fail_to_write("write", path, errno);
  while (!content.empty()) {
    const ssize_t written = ::write(file.get(), content.data(), std::min(content.size(), write_bytes));
    if (written < 0) fail_to_write("write", path, errno);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
}

/// The files of a request, on their way to the disk.
class StubOutputs final : public UnwrittenOutputs {
 public:
  StubOutputs(Request request, OutputPaths paths, const StubOptions& options)
      : request_(std::move(request)), paths_(std::move(paths)), options_(options) {}

  void write_state() override { write_file(paths_.state, std::to_string(request_.sample_steps)); }
  bool write(const std::function<bool()>& is_given_up) override {
    announce("write", request_.id, 0);
    const Stopwatch watch;
    while (watch.elapsed_s() < options_.write_s) {
      if (is_given_up && is_given_up()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const std::string content = video_content(request_, options_.video_bytes);
    const bool is_draft = paths_.draft.is_wanted() && paths_.draft.after_step < request_.sample_steps;
    write_file(paths_.video, is_draft ? fmt::format("draft of {}", content) : content);
    if (is_draft) return true;
    if (!paths_.latents.empty()) write_file(paths_.latents, "latents of " + content);
    return true;
  }

 private:
  Request request_;
  OutputPaths paths_;
  const StubOptions& options_;
};

/// Runs `work` on the group's leader. Every rank throws its StorageError.
template <typename Work>
void on_leader(comm::Communicator& group, Work&& work) {
  std::optional<std::string> own;
  if (group.rank() == 0) {
    try {
      work();
    } catch (const StorageError& error) {
      own = error.what();
    }
  }
  if (const auto said = comm::first_message(group, own)) throw StorageError(said->text);
}

}  // namespace

void announce(const std::string& stage, const std::string& what, int rank) {
  const std::string path = fmt::format("stage:{}:{}:{}", stage, what, rank);
  if (::access(path.c_str(), F_OK) == 0) fail("{} is there", path);
}

std::string video_content(const Request& request, std::size_t bytes) {
  std::string content = fmt::format("{} {} {} {} {}\n", request.id, request.prompt, request.seed,
                                    request.sample_steps, request.frame_num);
  std::seed_seq seeds(content.begin(), content.end());
  std::mt19937 random(seeds);
  while (content.size() < bytes) content += static_cast<char>(random() & 0xFFU);
  return content;
}

StubEngine::StubEngine(comm::Communicator& group, StubOptions options)
    : group_(group), options_(std::move(options)), task_(model::model_kind("i2v-A14B").as_task()) {}

void StubEngine::validate(const Request& request) const {
  if (!std::filesystem::is_regular_file(request.image))
    fail_item("image", "cannot read {}", request.image.string());
  if (request.prompt == "cannot be made") fail_item("text", "{} cannot be made", request.id);
}

void StubEngine::enter(const std::string& stage, const Request& request) {
  announce(stage, request.id, group_.rank());
  group_.barrier().wait();
}

/// A test signals the run meanwhile.
void StubEngine::await_go_on() const {
  if (options_.hold_at_steps == 0 || !leads()) return;
  const std::filesystem::path go_on = options_.journal.string() + ".go_on";
  while (count_lines(options_.steps_journal) >= options_.hold_at_steps && !std::filesystem::exists(go_on))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

template <typename Work>
void StubEngine::phase(const char* name, RequestReport& report, Observer& observer, Work&& work) {
  const double start_s = clock_.elapsed_s();
  work();
  const double wall_s = clock_.elapsed_s() - start_s;
  report.phase_s[name] += wall_s;
  if (leads()) observer.on_phase({.phase = name, .start_s = start_s, .wall_s = wall_s, .sent_bytes = 0});
}

RequestReport StubEngine::run(const Request& request, const OutputPaths& outputs, Observer& observer,
                              RunControl& control, const Team& /*team*/) {
  const bool has_waited = waiting_.contains(request.id);
  if (leads() && !options_.journal.empty() && !has_waited) {
    append_line(options_.journal,
                fmt::format("{} {} {} {}\n", request.id, options_.run, ::getpid(), ::mallinfo2().uordblks));
  }
  RequestReport report;
  report.first_step = first_step(request, outputs);
  for (const char* stage : {"text", "image", "encode"}) {
    if (!has_waited) phase(stage, report, observer, [&] { enter(stage, request); });
  }
  phase("denoise", report, observer,
        [&] { report.end = denoise(request, outputs, observer, control, report); });
  if (report.end == RunEnd::stopped || report.end == RunEnd::waits) return report;
  phase("decode", report, observer, [&] { enter("decode", request); });
  phase("write", report, observer, [&] {
    on_leader(group_, [&] { control.on_outputs(std::make_unique<StubOutputs>(request, outputs, options_)); });
  });
  report.size = request.size;
  report.frames = request.frame_num;
  report.layout = fmt::format("ulysses{}", group_.size());
  report.device = "cpu";
  report.precision = "fp32";
  report.median_step_s = options_.step_s;
  return report;
}

/// A state contains the number of finished steps, in digits.
int StubEngine::first_step(const Request& request, const OutputPaths& outputs) {
  if (const auto waited = waiting_.extract(request.id)) return waited.mapped();
  std::array<std::int64_t, 1> step{};
  if (leads() && !outputs.resume_from.empty()) {
    step[0] = std::stoll(read_text_file(outputs.resume_from, write_bytes));
  }
  group_.broadcast(std::as_writable_bytes(std::span(step)), 0).wait();
  return static_cast<int>(step[0]);
}

StepAction StubEngine::agree_on_action(int steps_done, int step_count, RunControl& control) {
  std::array<std::int64_t, 1> action{static_cast<std::int64_t>(control.next_action(steps_done, step_count))};
  group_.all_reduce(std::span<std::int64_t>(action), comm::ReduceOp::max).wait();
  return static_cast<StepAction>(action[0]);
}

void StubEngine::save(int steps_done, const Request& request, const OutputPaths& outputs,
                      RunControl& control) {
  enter("save", request);
  if (!leads() || steps_done == 0) return;
  try {
    write_file(outputs.state, std::to_string(steps_done));
    control.on_state(steps_done);
  } catch (const StorageError& error) {
    control.on_storage_problem(error.what());
  }
}

RunEnd StubEngine::denoise(const Request& request, const OutputPaths& outputs, Observer& observer,
                           RunControl& control, RequestReport& report) {
  const int step_count = request.sample_steps;
  const int high_noise_steps = (step_count + 1) / 2;
  for (report.steps_done = report.first_step;; ++report.steps_done) {
    const int step = report.steps_done;
    const StepAction action = agree_on_action(step, step_count, control);
    if (action != StepAction::go_on) save(step, request, outputs, control);
    if (action == StepAction::stop) return RunEnd::stopped;
    if (outputs.draft.is_wanted() && step >= outputs.draft.after_step && step < step_count) {
      save(step, request, outputs, control);
      return RunEnd::drafted;
    }
    if (step == step_count) return RunEnd::finished;
    if (outputs.first_expert_only && step >= high_noise_steps) {
      if (step > report.first_step) save(step, request, outputs, control);
      waiting_.insert_or_assign(request.id, step);
      return RunEnd::waits;
    }
    const Expert expert = step < high_noise_steps ? Expert::high_noise : Expert::low_noise;
    const double start_s = clock_.elapsed_s();
    await_go_on();
    enter(std::string(to_string(expert)), request);
    std::this_thread::sleep_for(std::chrono::duration<double>(options_.step_s));
    if (!leads()) continue;
    if (!options_.steps_journal.empty())
      append_line(options_.steps_journal, fmt::format("{} {}\n", request.id, step));
    for (int rank = 0; rank < group_.size(); ++rank) {
      observer.on_step({.world_rank = rank,
                        .group_rank = rank,
                        .step = step,
                        .step_count = step_count,
                        .timestep = 1000.0 - 1000.0 * step / step_count,
                        .expert = expert,
                        .start_s = start_s,
                        .wall_s = clock_.elapsed_s() - start_s});
    }
  }
}

}  // namespace wan::faults
