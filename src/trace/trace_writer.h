#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "core/clock.h"
#include "trace/trace_rows.h"

namespace wan::trace {

class TraceTables;

/// Writes the HDF5 trace of one group of ranks, on its leader. The calls only put rows into a queue, and wait
/// for nothing. A thread of the writer appends them to the file and flushes it, several times a second.
///
/// The queue is bounded: if the disk is too slow for the rows that come, new ones are dropped and counted
/// (/drops, attribute dropped_rows).
///
/// Until the writer is closed, only its thread uses HDF5, and nobody else in the process may: the library may
/// be built without locks. Only the constructor waits for the disk: the thread makes the file meanwhile.
class TraceWriter {
 public:
  struct Options {
    std::size_t most_rows = 1U << 16U;  ///< that wait in memory
    const Stopwatch* clock = nullptr;   ///< of the times in /drops; null: they count from the writer's start
    std::function<void()> when_made = {};  ///< called on the thread as soon as there is a file
  };
  /// Creates the file; its folder must exist. Throws Error with the reason, also if something has the name,
  /// and the exception of `when_made`.
  TraceWriter(const std::filesystem::path& path, const RunAttributes& attributes, Options options);
  TraceWriter(const std::filesystem::path& path, const RunAttributes& attributes);
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;
  TraceWriter(TraceWriter&&) = delete;
  TraceWriter& operator=(TraceWriter&&) = delete;
  ~TraceWriter();

  /// These return the new row's number, to refer to; -1 if it was dropped.
  std::int32_t begin_item(ItemRecord item);
  std::int32_t begin_stretch(StretchRecord stretch);
  void end_item(ItemEndRecord end);
  void add_steps(std::span<const StepRecord> steps);
  void add_phases(std::span<const PhaseRecord> phases);
  void add_samples(std::span<const DeviceSample> samples);
  void add_ranks(std::span<const RankRecord> ranks);
  void add_clocks(std::span<const ClockRecord> clocks);
  void add_account(std::span<const AccountRecord> account);
  void add_notes(std::span<const NoteRecord> notes);
  /// Adds attributes to the root. None of them may be there yet.
  void add_attributes(const RunAttributes& attributes);

  /// Waits until all rows are in the file, and closes it. Later rows are ignored.
  void close();
  /// The error that ended the trace; null if none did. It is an Error, or a StorageError if the disk is at
  /// fault.
  std::exception_ptr problem() const;
  /// Rows that were dropped so far.
  std::int64_t dropped_rows() const;

 private:
  /// Queues rows of one table if there is room. False if they were dropped, or if the trace has ended.
  template <typename Row>
  bool add(std::span<const Row> rows, std::vector<Row> TraceRows::*table, const char* name);
  void make(const std::filesystem::path& path, const RunAttributes& attributes);
  void run(const std::filesystem::path& path, const RunAttributes& attributes);
  void write_until_closed();
  bool take(TraceRows& rows);

  const Options options_;
  const Stopwatch own_clock_;
  std::unique_ptr<TraceTables> tables_;  ///< of the thread alone

  mutable std::mutex mutex_;  ///< guards the members below
  std::condition_variable wake_;
  TraceRows pending_;
  bool is_made_ = false;
  bool closing_ = false;
  std::exception_ptr problem_;
  std::int32_t items_ = 0;
  std::int32_t stretches_ = 0;
  std::int64_t dropped_rows_ = 0;
  std::vector<DropRecord> drops_;  ///< of each table at most one, not yet in the file

  std::thread thread_;  ///< last member: the thread uses all members above
};

}  // namespace wan::trace
