#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/environment.h"

namespace wan::store {

// The record of a Slurm job's starts in OUT/.jobs/<job>/. The batch scripts write it (slurm/lib/ledger.sh
// lists its files), and the program adds its part. Slurm's requeue of a job, and the account of all its
// starts, follow from it. The files may hold anything: a value that does not parse counts as missing.

/// The progress of one group in one start, as the group's leader writes it. Times in rank-seconds count every
/// rank of a team.
struct GroupProgress {
  std::string run;
  std::int64_t rows = 0;            ///< of the run
  std::int64_t settled_before = 0;  ///< rows that were done or failed before this start
  std::int64_t failed_before = 0;   ///< those of them that failed
  std::int64_t made = 0;            ///< by this group in this start
  std::int64_t failed = 0;          ///< by this group in this start
  bool in_hand = false;             ///< it is at work on a row
  std::string id;                   ///< of the row in hand, or of the row that this start has left unfinished
  int step = 0;                     ///< steps done of that row, those of earlier starts included
  int steps = 0;
  double step_s = 0;            ///< wall seconds of the last step
  int ranks = 1;                ///< that make the row
  std::int64_t steps_made = 0;  ///< in this start, of all rows
  double used_rank_s = 0;       ///< in which a step, encoding or decoding ran
  std::int64_t lost_steps = 0;  ///< that an earlier start had made, and this start made again
  double lost_rank_s = 0;       ///< that the earlier start had used for them
  std::int64_t left_s = 0;      ///< until the run ends; 0: unknown
  std::int64_t at_s = 0;        ///< when this was written, Unix time
};

/// One line of JSON: the scripts read it with sed.
std::string to_text(const GroupProgress& progress);
GroupProgress group_progress_from(std::string_view text);

/// One start of a job.
struct JobStart {
  int number = 0;
  std::int64_t began_s = 0;  ///< Unix time
  std::int64_t ended_s = 0;  ///< Unix time; of a start that was killed: its last sign of life
  bool has_ended = false;    ///< in order, so that the script noted why
  bool was_told_to_stop = false;
  int gpus = 0;
  std::string nodes;   ///< Slurm's list
  std::string reason;  ///< why it ended; empty if it was killed or still runs
  int exit_code = 0;
  std::string command;            ///< the sbatch command that goes on; may be empty
  bool will_start_again = false;  ///< the script has asked Slurm to start the job again
  bool has_crashed = false;       ///< a signal ended a rank, and the job was requeued
  std::vector<GroupProgress> groups;

  double rank_s() const { return static_cast<double>(ended_s - began_s) * gpus; }
};

/// The path without extension of this start's record, which the batch scripts pass on; empty without them.
std::filesystem::path job_start_record(const Environment& environment);

/// The starts in a job's folder, by number.
std::vector<JobStart> read_job_starts(const std::filesystem::path& job_folder);

/// The ids of the jobs that have a record in an output folder, the newest first.
std::vector<std::string> recorded_jobs(const std::filesystem::path& output_folder);

std::filesystem::path job_folder(const std::filesystem::path& output_folder, const std::string& job);

/// The runs of earlier starts of this job that ended because a signal killed a rank.
std::vector<std::string> crashed_runs(const std::filesystem::path& start_record);

/// Creates an empty or short file beside the record: "mpi", "error". Ignores failures: it must not end a run.
void note_beside(const std::filesystem::path& start_record, std::string_view extension,
                 std::string_view text) noexcept;

/// Replaces a group's progress without waiting for the disk. Ignores failures.
void write_group_progress(const std::filesystem::path& start_record, int group,
                          const GroupProgress& progress) noexcept;

}  // namespace wan::store
