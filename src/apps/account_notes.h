#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "display/run_account.h"

namespace wan::apps {

using display::Note;
using display::RunAccount;

/// A way to divide the ranks and to place the experts' weights.
struct RankDivision {
  int group_size = 1;
  int cfg = 1;
  int ulysses = 1;
  bool is_sharded = false;
  bool is_offloaded = false;  ///< one expert waits on the host or on disk
  bool operator==(const RankDivision&) const = default;
};

/// Facts that the notes must know of a run beside its account.
struct AccountFacts {
  RankDivision division;
  std::vector<RankDivision> others = {};  ///< that fit into memory too
  std::int64_t heads = 0;                 ///< of the model, which the ulysses ranks divide; 0: evenly
  int writers = 0;                        ///< threads of a group that write videos
  bool joins_groups = true;               ///< groups without work help others
  /// The share of the autoencoder's time that more ranks do not divide; empty: not measured on such a device.
  std::optional<double> vae_undivided = {};
  /// If a slower backend than the device allows computes attention.
  struct Fallback {
    std::string backend;
    std::string change;  ///< "a build with FlashInfer"
    double saved = 0;    ///< of the time of attention, 0 to 1
  };
  std::optional<Fallback> fallback = {};
};

/// Thresholds of the notes: shares of all ranks' time unless they say otherwise.
namespace threshold {
inline constexpr double communication = 0.05;  ///< of the time of the steps
inline constexpr double vae = 0.10;
inline constexpr double idle_groups = 0.05;
inline constexpr double writing = 0.02;
inline constexpr double load = 0.10;
inline constexpr double offload = 0.03;
inline constexpr double gain = 0.01;  ///< a change that saves less is not worth a note
}  // namespace threshold

/// The changes that would make such a run faster, the one that saves most first.
std::vector<Note> account_notes(const RunAccount& account, const AccountFacts& facts);

}  // namespace wan::apps
