#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "wan/engine.h"

namespace wan::trace {

/// The number of the format that this program writes; docs/trace.md lists what each number holds.
inline constexpr std::int64_t format_number = 2;

/// A text that nobody knows. Unknown numbers are NaN or -1.
inline constexpr const char* unknown_text = "unknown";

/// Attributes of a whole run: version, layout, host, GPU model, Slurm job, command line, start time.
using RunAttributes = std::map<std::string, std::variant<std::int64_t, double, std::string>>;

/// One row of /ranks: where a rank of the group computes.
struct RankRecord {
  std::int32_t world_rank = 0;
  std::int32_t group_rank = 0;
  std::string host;
  std::string gpu_model;  ///< empty on the CPU, like the next two
  std::string gpu_uuid;
  std::string pci_bus;
  double power_limit_w = std::numeric_limits<double>::quiet_NaN();
  std::int32_t numa_node = -1;
};

/// One row of /clocks: how far a rank's clock is ahead of that of world rank 0.
struct ClockRecord {
  std::int32_t world_rank = 0;
  double time_s = 0;  ///< on the rank's own clock
  double offset_s = 0;
  double uncertainty_s = 0;
};

/// One row of /items.
struct ItemRecord {
  std::string id;
  std::uint64_t seed = 0;
  PixelSize size;  ///< size of the video
  int frames = 0;
  int steps = 0;
  std::string layout;  ///< "cfg2 x ulysses2, fsdp4"
};

/// One row of /stretches.
struct StretchRecord {
  std::int32_t item = -1;  ///< row of /items
  StretchEvent event;
};

/// One row of /item_ends.
struct ItemEndRecord {
  std::int32_t item = -1;
  double time_s = 0;
  std::string outcome;  ///< "done", "failed", "stopped", "handed over"
  std::int32_t steps_done = 0;
};

/// One row of /steps.
struct StepRecord {
  std::int32_t item = -1;
  std::int32_t stretch = -1;  ///< row of /stretches
  std::int8_t warm_up = 0;
  StepEvent event;
};

/// One row of /phases.
struct PhaseRecord {
  std::int32_t item = -1;  ///< -1: a phase of the run
  PhaseEvent event;
};

/// One row of /drops.
struct DropRecord {
  double time_s = 0;
  std::string table;
  std::int64_t rows = 0;
};

/// One row of /account: the time of one name of a rank.
struct AccountRecord {
  std::int32_t world_rank = 0;
  std::string name;
  std::int64_t calls = 0;
  double wall_s = 0;
};

/// One row of /notes: a change that would make such a run faster.
struct NoteRecord {
  std::string kind;
  std::string text;
  double share = 0;  ///< of all ranks' time that it is about
  double gain = 0;   ///< of all ranks' time that the change would save, estimated
};

/// Rows on their way to the file, by table, and attributes of its root.
struct TraceRows {
  std::vector<RankRecord> ranks = {};
  std::vector<ClockRecord> clocks = {};
  std::vector<ItemRecord> items = {};
  std::vector<StretchRecord> stretches = {};
  std::vector<ItemEndRecord> item_ends = {};
  std::vector<StepRecord> steps = {};
  std::vector<PhaseRecord> phases = {};
  std::vector<DeviceSample> samples = {};
  std::vector<DropRecord> drops = {};
  std::vector<AccountRecord> account = {};
  std::vector<NoteRecord> notes = {};
  RunAttributes attributes = {};

  std::size_t count() const {
    return ranks.size() + clocks.size() + items.size() + stretches.size() + item_ends.size() + steps.size() +
           phases.size() + samples.size() + drops.size() + account.size() + notes.size();
  }
  bool is_empty() const { return count() == 0 && attributes.empty(); }
};

}  // namespace wan::trace
