#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "batch/observer.h"

namespace wan::display {

/// The names of a rank's time. analysis/wan_analysis/account.py has the same names and meanings, with `other`
/// divided by the place where it lies.
enum class TimeName {
  start_up,
  load,
  text,
  image,
  encode,
  lora,  ///< the weights get other LoRAs
  steps,
  between_steps,  ///< in the denoising of an item, but in no step
  decode,
  write,
  publish,
  between_phases,  ///< between two phases of an item
  warm_up,
  join,
  idle,
  finish,
  other,  ///< between two items, and time without a name
};
inline constexpr std::size_t time_name_count = 17;
std::string_view to_string(TimeName name);

/// Time of one name: how often it came, and seconds in all.
struct NamedTime {
  std::int64_t calls = 0;
  double seconds = 0;
};
/// Times of one rank, indexed by TimeName.
using RankTimes = std::array<NamedTime, time_name_count>;

/// The numbers of a group that belong to no single rank. Seconds are rank-seconds.
struct GroupSums {
  std::array<double, part_count> part_s{};            ///< of the steps; of the GPU where it is measured
  std::array<double, batch::wait_count> waiting_s{};  ///< of `idle`, by what the group waited for
  std::int64_t items = 0;                             ///< done or drafted
  double video_s = 0;                                 ///< length of their videos
  double writing_s = 0;                               ///< in threads, beside the ranks' own time
  double energy_j = 0;
  std::int64_t unmetered = 0;  ///< ranks whose power is not known

  GroupSums& operator+=(const GroupSums& more);
};

/// Adds up the time of the ranks that work for one leader, as their phases and steps end. The phases of a
/// rank do not overlap.
class AccountLedger {
 public:
  /// `leader`: its world rank; its clock is that of wait_for().
  explicit AccountLedger(int leader) : leader_(leader) {}

  /// How far the clock of a rank is ahead of that of world rank 0. Unknown clocks are taken to be equal.
  void set_clock(int world_rank, double offset_s) { clock_offset_s_[world_rank] = offset_s; }
  /// The phases that follow are of another row of the trace's /items.
  void begin_item() { ++item_; }
  void add_phase(const PhaseEvent& event, bool is_of_item);
  void add_step(const StepEvent& event);
  void add_samples(std::span<const DeviceSample> samples);
  void wait_for(batch::WaitFor what, double now_s) { waits_.emplace_back(now_s, what); }
  /// An item got its video of so many seconds.
  void add_video(double video_s);

  /// By world rank. Their `other` is 0: the ledger does not know how long the run took.
  std::map<int, RankTimes> times() const;
  /// `ranks`: the GPUs whose power should be known; empty on the CPU.
  GroupSums sums(const std::set<int>& ranks) const;

 private:
  /// The item under way, as one rank sees it.
  struct Span {
    int item = -1;
    double begin_s = 0;
    double end_s = 0;
    double named_s = 0;  ///< of its phases
  };
  struct Meter {
    double since_s = 0;
    double energy_j = 0;
  };

  void add_to_span(const PhaseEvent& event);
  void add_idle(const PhaseEvent& event);

  int leader_;
  int item_ = 0;
  std::map<int, double> clock_offset_s_;
  std::map<int, RankTimes> times_;
  std::map<int, double> denoise_s_;
  std::map<int, Span> spans_;
  std::map<int, Meter> meters_;
  std::vector<std::pair<double, batch::WaitFor>> waits_;
  GroupSums sums_;
};

}  // namespace wan::display
