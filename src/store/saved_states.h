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

// Unfinished items: what OUT/.state holds so that the next run goes on in mid-item. Per item a record,
// `<id>.json`, which alone counts, and the engine's state file that it names,
// `<id>.<steps>.wan-<token>.safetensors`. The file comes first and the record replaces the one before in one
// step, so that a crash at any moment leaves the last state or the one before it.

/// What an item's work before this run amounts to.
struct SavedState {
  int steps_done = 0;
  double seconds = 0;           ///< that went into them, of all runs
  double gpu_seconds = 0;       ///< likewise
  double energy_j = 0;          ///< of its GPUs, likewise; NaN if unknown
  std::vector<int> resumed_at;  ///< steps at which earlier runs took the item up
  std::uint64_t seed = 0;       ///< drawn or given
  std::string run;              ///< that saved it
  std::string differs;          ///< from the request that is wanted; empty: it answers that
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

  /// Where the owner of `token` lets an engine write a state of the item.
  std::filesystem::path temporary(std::string_view id, std::string_view token) const;

  /// Makes the state at temporary() the item's, in place of the one before. Throws Error.
  void publish(std::string_view id, std::string_view token, const NewState& state) const;

  /// The item's state and whether it answers `wanted`. Nothing if there is none, or what is there is damaged;
  /// with `by_content` the file's checksum is compared too.
  std::optional<SavedState> find(std::string_view id, const Parameters& wanted, bool by_content) const;

  /// Removes all that is there of the item, its record last: what a crash leaves is found by the record. For
  /// whoever holds the item's claim, and for items that are done.
  void remove(std::string_view id) const;
  /// A record of this program, whatever it says of the item.
  bool has_record(std::string_view id) const;
  /// Removes what the owner of `token` left unpublished.
  void remove_temporary(std::string_view id, std::string_view token) const;

 private:
  std::filesystem::path record(std::string_view id) const;
  void remove_files(std::string_view id, const std::filesystem::path& but) const;

  std::filesystem::path folder_;
};

}  // namespace wan::store
