#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "batch/observer.h"
#include "display/time_estimate.h"
#include "store/job_record.h"

namespace wan::display {

/// Writes the progress of a group's leader into the record of the Slurm job (store/job_record.h): when a row
/// begins or ends, after the first step, and otherwise at most once a second. A failure to write is ignored.
class JobProgress final : public batch::ItemObserver {
 public:
  struct Place {
    std::filesystem::path start_record;
    std::string run;
    int group_index = 0;
    int group_count = 1;
    int group_ranks = 1;
    std::int64_t failed_before = 0;
  };
  /// `now_s` is a clock in seconds. Reads the records of the job's earlier starts.
  JobProgress(Place place, std::function<double()> now_s);

  void on_phase(const PhaseEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_stretch(const StretchEvent& stretch) override;
  void on_item_start(const batch::ItemStart& start) override;
  void on_writing(const std::string& id) override;
  void on_item_end(const batch::ItemOutcome& outcome) override;

 private:
  void count_lost_steps(int first_step);
  void write(bool at_once);

  Place place_;
  std::function<double()> now_s_;
  TimeEstimate estimate_;
  store::GroupProgress progress_;
  /// Rows that earlier starts left unfinished, by id: how far they had come.
  std::map<std::string, store::GroupProgress> left_behind_;
  std::set<std::string> writing_;  ///< ids of the rows that threads write
  bool is_first_item_ = true;
  double written_s_ = -1e9;
};

}  // namespace wan::display
