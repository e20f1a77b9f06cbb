#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>

#include "wan/engine.h"

namespace wan::trace {

/// Attributes of a whole run: version, layout, host, GPU model, Slurm job, command line, start time.
using RunAttributes = std::map<std::string, std::variant<std::int64_t, double, std::string>>;

/// One row of /items.
struct ItemRecord {
  std::string id;
  std::uint64_t seed = 0;
  PixelSize size;  ///< size of the video
  int frames = 0;
  int steps = 0;
  std::string layout;  ///< "cfg2 x ulysses2, fsdp4"
};

/// Writes the HDF5 trace of one group of ranks, on its leader. Every add_ and begin_ call ends with flush(),
/// so a process that is killed between two calls leaves a file that any HDF5 reader opens. Only one thread at
/// a time may use it, and no other user of HDF5 in the process meanwhile: the library may be built without
/// locks.
///
/// The root has the given attributes. Each group has one dataset for each column; each column has `units`:
/// /items    id, seed, width, height, frames, steps, layout
/// /steps    item (row of /items, -1: none), world_rank, group_rank, step, timestep, expert (enumeration),
/// start_s, wall_s, wall_<part>_s and gpu_<part>_s for every Part, sent_bytes, vram_allocated_bytes,
/// vram_reserved_bytes, vram_peak_bytes
/// /phases   item, phase, start_s, wall_s, sent_bytes
/// /samples  time_s, rank, vram_used_bytes, power_w, temperature_c
///
/// All members throw Error with HDF5's reason. Do not use a trace after it failed once.
class TraceWriter {
 public:
  /// Creates the file and replaces a file of that name. Its folder must exist.
  TraceWriter(const std::filesystem::path& path, const RunAttributes& attributes);
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;
  TraceWriter(TraceWriter&&) = delete;
  TraceWriter& operator=(TraceWriter&&) = delete;
  ~TraceWriter();

  /// Rows that are added from now on belong to this item.
  void begin_item(const ItemRecord& item);
  void add_steps(std::span<const StepEvent> events);
  void add_phase(const PhaseEvent& event);
  void add_samples(std::span<const DeviceSample> samples);
  /// Passes all rows to the operating system.
  void flush();

 private:
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

}  // namespace wan::trace
