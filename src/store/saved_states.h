#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/output_folder.h"
#include "store/sidecar.h"

namespace wan::store {

// OUT/.state holds the states of unfinished items, so that the next run goes on in mid-item. An item has a
// record, `<id>.json`, and the engine's state file that the record names,
// `<id>.<steps>.wan-<token>.safetensors`. Only the record counts. The file is written first, and the record
// replaces the one before in one step. So a crash at any moment leaves the last state or the one before it.

/// The work on an item before this run.
struct SavedState {
  int steps_done = 0;
  double seconds = 0;           ///< spent on these steps by all runs
  double gpu_seconds = 0;       ///< spent on these steps by all runs
  double energy_j = 0;          ///< of its GPUs, by all runs; NaN if unknown
  std::vector<int> resumed_at;  ///< steps at which earlier runs resumed the item
  std::uint64_t seed = 0;       ///< drawn or given
  std::string run;              ///< the run that saved it
  std::string differs;  ///< how it differs from the request that is wanted; empty: it answers that request
  OutputFile file;
  std::filesystem::path path;  ///< of the engine's state
};

/// A state to publish.
struct NewState {
  const Parameters& parameters;
  int steps_done = 0;
  double seconds = 0;
  double gpu_seconds = 0;
  double energy_j = 0;  ///< NaN if unknown
  std::vector<int> resumed_at;
  const Origin& origin;
};

/// The saved states of the unfinished items of an output folder.
class SavedStates {
 public:
  /// The folder must exist (OutputFolder makes it).
  explicit SavedStates(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// The place where the owner of `token` lets an engine write a state of the item.
  std::filesystem::path temporary(std::string_view id, std::string_view token) const;

  /// Makes the state at temporary() the item's state, in place of the one before. Throws Error.
  void publish(std::string_view id, std::string_view token, const NewState& state) const;

  /// The item's state, compared with `wanted`. Returns nothing if there is none, or if it is damaged. With
  /// `by_content`, compares the checksum of the file too.
  std::optional<SavedState> find(std::string_view id, const Parameters& wanted, bool by_content) const;

  /// Removes all files of the item's state, the record last: after a crash, the record leads to the rest. For
  /// the holder of the item's claim, and for items that are done.
  void remove(std::string_view id) const;
  /// Whether there is a record of this program, whatever it says of the item.
  bool has_record(std::string_view id) const;
  /// The record's path if something that is not a record of this program lies there. A state of the item
  /// cannot be saved then.
  std::optional<std::filesystem::path> foreign_record(std::string_view id) const;
  /// Removes the unpublished files of the owner of `token`.
  void remove_temporary(std::string_view id, std::string_view token) const;

 private:
  std::filesystem::path record(std::string_view id) const;
  void remove_files(std::string_view id, const std::filesystem::path& but) const;

  std::filesystem::path folder_;
};

}  // namespace wan::store
