#pragma once

#include <span>
#include <string>

#include "store/batch_status.h"
#include "store/job_record.h"

namespace wan::display {

/// The state of a job in Slurm's queue.
struct QueueState {
  std::string job;     ///< "4711", "4711_3"
  std::string state;   ///< Slurm's word: "PENDING"; empty: Slurm does not know the job or does not answer
  std::string reason;  ///< Slurm's word: "BeginTime", "JobHeldUser"
};

/// A job's state in words: "running", "held: `scontrol release 4711` lets it go", "pending after a preemption
/// (BeginTime)". Empty if the state is.
std::string queue_words(const QueueState& queue, std::span<const store::JobStart> starts);

/// GPU-hours of all starts of a job.
struct GpuHours {
  double total = 0;  ///< GPUs of each start times its length
  double used = 0;   ///< a step, encoding or decoding ran, and its result was kept
  double lost = 0;   ///< steps that a later start made again
  double idle() const { return total - used - lost; }
  std::int64_t lost_steps = 0;
};
GpuHours gpu_hours(std::span<const store::JobStart> starts);

/// The account of a job: its starts and why each ended, its GPU-hours, the failed rows with their place, and
/// the one command to type next. `look` is the command that shows the batch. `retry` are the words to add to
/// a command that tries failed rows again.
std::string account_text(const QueueState& queue, std::span<const store::JobStart> starts,
                         const store::BatchStatus& status, const std::string& look, const std::string& retry);

}  // namespace wan::display
