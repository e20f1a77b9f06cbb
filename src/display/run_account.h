#pragma once

#include <span>
#include <string>
#include <vector>

#include "display/account_ledger.h"

namespace wan::display {

/// A note at the end of a run: one change that would make it faster.
struct Note {
  std::string
      kind;  ///< "communication", "vae", "idle groups", "writing", "writers", "load", "offload", "attention"
  std::string text;  ///< a sentence for the user
  double share = 0;  ///< of all ranks' time that it is about, 0 to 1
  double gain = 0;   ///< of all ranks' time that the change would save, estimated, 0 to 1
};

/// Where the time of all ranks of a run went, and what came of it.
struct RunAccount {
  std::vector<RankTimes> ranks;  ///< by world rank; the names of a rank add up to its wall time
  std::vector<double> wall_s;    ///< by world rank: from the end of MPI_Init to the end of the run
  GroupSums sums = {};           ///< of all groups
  bool on_gpu = false;

  /// Ranks times wall time.
  double total_s() const;
  /// Seconds of a name, of all ranks.
  double seconds(TimeName name) const;
  double share(TimeName name) const;
  /// The share of the ranks' time in which they worked on no video: all but texts, images, encoding, steps
  /// and decoding. The account of a Slurm job counts GPU-hours in the same way. 0 to 1.
  double idle_share() const;
  double waiting_share(batch::WaitFor what) const;
  /// The share of communication that computing does not hide, of the time of the steps, 0 to 1.
  double communication_share() const;
  double items_per_rank_hour() const;    ///< items that are done or drafted
  double video_s_per_rank_hour() const;  ///< seconds of their videos
  double wh_per_item() const;            ///< NaN if the power of a GPU is not known, or no item was made
  /// "GPU" or "rank".
  std::string unit() const { return on_gpu ? "GPU" : "rank"; }
};

/// Fills in `other`, so that the names of each rank add up to its wall time.
void close_account(RunAccount& account);

/// The account as the program prints it: the table, the idle share with its reasons, what was made, the
/// notes.
std::string account_text(const RunAccount& account, std::span<const Note> notes);

}  // namespace wan::display
