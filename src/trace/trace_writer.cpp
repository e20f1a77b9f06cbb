#include "trace/trace_writer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/check.h"
#include "trace/hdf5.h"
#include "trace/trace_tables.h"

namespace wan::trace {
namespace {

// Rows that come together are written together. A step is in the file well within half a second of its end.
constexpr std::chrono::milliseconds gathering_time{50};

}  // namespace

TraceWriter::TraceWriter(const std::filesystem::path& path, const RunAttributes& attributes)
    : TraceWriter(path, attributes, Options()) {}

TraceWriter::TraceWriter(const std::filesystem::path& path, const RunAttributes& attributes, Options options)
    : options_(std::move(options)), thread_([&] { run(path, attributes); }) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return is_made_ || problem_; });
  if (!problem_) return;
  lock.unlock();
  thread_.join();
  std::rethrow_exception(problem_);
}

TraceWriter::~TraceWriter() { close(); }

template <typename Row>
bool TraceWriter::add(std::span<const Row> rows, std::vector<Row> TraceRows::*table, const char* name) {
  if (rows.empty()) return true;
  {
    const std::scoped_lock lock(mutex_);
    if (closing_ || problem_) return false;
    if (pending_.count() + rows.size() > options_.most_rows) {
      dropped_rows_ += std::ssize(rows);
      auto drop = std::ranges::find(drops_, name, &DropRecord::table);
      if (drop == drops_.end()) drop = drops_.insert(drop, DropRecord{.table = name});
      drop->time_s = (options_.clock != nullptr ? *options_.clock : own_clock_).elapsed_s();
      drop->rows += std::ssize(rows);
      return false;
    }
    std::vector<Row>& waiting = pending_.*table;
    waiting.insert(waiting.end(), rows.begin(), rows.end());
  }
  wake_.notify_all();
  return true;
}

std::int32_t TraceWriter::begin_item(ItemRecord item) {
  return add(std::span<const ItemRecord>(&item, 1), &TraceRows::items, "items") ? items_++ : -1;
}

std::int32_t TraceWriter::begin_stretch(StretchRecord stretch) {
  return add(std::span<const StretchRecord>(&stretch, 1), &TraceRows::stretches, "stretches") ? stretches_++
                                                                                              : -1;
}

void TraceWriter::end_item(ItemEndRecord end) {
  add(std::span<const ItemEndRecord>(&end, 1), &TraceRows::item_ends, "item_ends");
}

void TraceWriter::add_steps(std::span<const StepRecord> steps) { add(steps, &TraceRows::steps, "steps"); }

void TraceWriter::add_phases(std::span<const PhaseRecord> phases) {
  add(phases, &TraceRows::phases, "phases");
}

void TraceWriter::add_samples(std::span<const DeviceSample> samples) {
  add(samples, &TraceRows::samples, "samples");
}

void TraceWriter::add_ranks(std::span<const RankRecord> ranks) { add(ranks, &TraceRows::ranks, "ranks"); }

void TraceWriter::add_clocks(std::span<const ClockRecord> clocks) {
  add(clocks, &TraceRows::clocks, "clocks");
}

void TraceWriter::add_account(std::span<const AccountRecord> account) {
  add(account, &TraceRows::account, "account");
}

void TraceWriter::add_notes(std::span<const NoteRecord> notes) { add(notes, &TraceRows::notes, "notes"); }

void TraceWriter::add_attributes(const RunAttributes& attributes) {
  {
    const std::scoped_lock lock(mutex_);
    pending_.attributes.insert(attributes.begin(), attributes.end());
  }
  wake_.notify_all();
}

std::int64_t TraceWriter::dropped_rows() const {
  const std::scoped_lock lock(mutex_);
  return dropped_rows_;
}

std::exception_ptr TraceWriter::problem() const {
  const std::scoped_lock lock(mutex_);
  return problem_;
}

void TraceWriter::close() {
  if (!thread_.joinable()) return;
  {
    const std::scoped_lock lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

/// The constructor waits for the end of this function, and its arguments live as long.
void TraceWriter::make(const std::filesystem::path& path, const RunAttributes& attributes) {
  prepare_hdf5();
  tables_ = std::make_unique<TraceTables>(path, attributes);
  if (options_.when_made) options_.when_made();
  {
    const std::scoped_lock lock(mutex_);
    is_made_ = true;
  }
  wake_.notify_all();
}

void TraceWriter::run(const std::filesystem::path& path, const RunAttributes& attributes) {
  try {
    make(path, attributes);
    write_until_closed();
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    problem_ = std::current_exception();
    pending_ = {};
  }
  tables_.reset();
  wake_.notify_all();
}

void TraceWriter::write_until_closed() {
  TraceRows rows;
  while (take(rows)) {
    tables_->append(rows);
    tables_->publish();
  }
}

/// Waits for rows. False if the writer is being closed and none are left.
bool TraceWriter::take(TraceRows& rows) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return closing_ || !pending_.is_empty(); });
  if (!closing_) wake_.wait_for(lock, gathering_time, [this] { return closing_; });
  rows = std::exchange(pending_, {});
  rows.drops = std::exchange(drops_, {});
  return !rows.is_empty();
}

}  // namespace wan::trace
