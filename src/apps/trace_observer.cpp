#include "apps/trace_observer.h"

#include <fmt/ranges.h>

#include "core/check.h"
#include "engine/validate.h"
#include "trace/trace_index.h"
#include "wan/storage_error.h"
#include "wan/version.h"

namespace wan::apps {
namespace {

trace::RunAttributes run_attributes(const TraceRun& run) {
  return {{"version", version()},
          {"run", run.run},
          {"started", run.started},
          {"host", run.host},
          {"job", run.job},
          {"task", run.task},
          {"layout", run.layout},
          {"group", std::int64_t{run.group_index}},
          {"groups", std::int64_t{run.group_count}},
          {"ranks", std::int64_t{run.ranks}},
          {"device", run.device},
          {"gpu_model", run.gpu_model},
          {"command", fmt::format("{}", fmt::join(run.arguments, " "))}};
}

}  // namespace

TraceObserver::TraceObserver(const TraceRun& run) : log_(run.log), kind_(*run.kind), layout_(run.layout) {
  const std::filesystem::path folder = run.index.parent_path() / run.index.stem();
  const std::filesystem::path file = folder / fmt::format("{}-g{:02}.h5", run.run, run.group_index);
  try {
    if (const std::string problem = trace::in_the_way_of_trace(run.index); !problem.empty())
      fail("{}", problem);
    std::filesystem::create_directories(folder);
    writer_ = std::make_unique<trace::TraceWriter>(file, run_attributes(run));
    const std::string no_lock = trace::add_to_index(run.index, file);
    if (!no_lock.empty() && run.group_index == 0) {
      log_->warn(
          "{}; the index of traces is made without a lock. Mount the file system with locks (Lustre: flock) "
          "if jobs that start in one folder in the same second lose each other's traces",
          no_lock);
    }
  } catch (const std::exception& error) {
    // No item has begun, so a wrong place for the trace is a matter of configuration.
    fail<UsageError>("the trace cannot be written: {}; choose another place with --trace", error.what());
  }
}

template <typename Write>
void TraceObserver::guarded(Write&& write) {
  if (!writer_) return;
  try {
    write(*writer_);
  } catch (const Error& error) {
    log_->warn("the trace ends here: {}", error.what());
    if (dynamic_cast<const StorageError*>(&error) != nullptr) storage_problem_ = error.what();
    writer_.reset();
  }
}

void TraceObserver::on_phase(const PhaseEvent& event) {
  guarded([&](trace::TraceWriter& writer) { writer.add_phase(event); });
}

void TraceObserver::on_step(const StepEvent& event) {
  step_.push_back(event);
  if (step_.size() < static_cast<std::size_t>(event.group_ranks)) return;
  guarded([&](trace::TraceWriter& writer) { writer.add_steps(step_); });
  step_.clear();
}

void TraceObserver::on_samples(std::span<const DeviceSample> samples) {
  guarded([&](trace::TraceWriter& writer) { writer.add_samples(samples); });
}

void TraceObserver::on_item_start(const batch::ItemStart& start) {
  PixelSize size = start.request.size;
  try {
    size = engine::video_size(start.request, kind_);
  } catch (const ItemError&) {
    // The engine finds the same problem and reports it. The trace keeps the size that was asked for.
    size = start.request.size;
  }
  guarded([&](trace::TraceWriter& writer) {
    writer.begin_item({.id = start.request.id,
                       .seed = start.request.seed,
                       .size = size,
                       .frames = start.request.frame_num,
                       .steps = start.request.sample_steps,
                       .layout = layout_});
  });
}

void TraceObserver::on_item_end(const batch::ItemOutcome& /*outcome*/) { step_.clear(); }

}  // namespace wan::apps
