#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "batch/item.h"
#include "store/claims.h"

namespace wan::batch {

// A row may end the program, because the host's memory runs out or a library crashes. It must not end every
// later run too. OUT/.state/.deaths-<id>.json notes such ends until the item is done or failed.

inline constexpr std::size_t deaths_before_last =
    2;  ///< after this many deaths, the row is made after all others
inline constexpr std::size_t deaths_before_failed =
    3;  ///< after this many deaths, it has failed with stage "crash"

/// An attempt at an item during which the program ended.
struct Death {
  std::string token;  ///< of the attempt's owner
  std::string who;    ///< "node7, process 123, job 4711", and an error's message if there was one
  std::string when;   ///< when it was noted, UTC
};

/// The deaths noted for the items of an output folder.
class ItemDeaths {
 public:
  explicit ItemDeaths(std::filesystem::path states_folder) : folder_(std::move(states_folder)) {}

  /// The deaths of this row. If the row's values have been changed, there are none.
  std::vector<Death> of(const store::Parameters& wanted) const;
  bool are_noted(std::string_view id) const;
  /// Adds a death unless one with its token is noted. Throws Error.
  void add(const store::Parameters& wanted, const Death& death) const;
  void clear(std::string_view id) const;

 private:
  std::filesystem::path record(std::string_view id) const;

  std::filesystem::path folder_;
};

/// Whether the death of a claim's owner counts against the item. It counts if the owner was at work on the
/// item, nobody had told it to stop, its node did not go down with it as far as this process can know, it
/// saved no new step, and it was no earlier start of this job, unless a signal killed a rank of that start.
bool counts_as_death(const store::DeadOwner& owner, const store::Parameters& wanted,
                     const RunContext& context);

/// Notes that the attempt of `token` at a row ends the run by an error that is not the item's, unless the
/// attempt saved a new step. For a rank that is about to end the job. Throws nothing.
void note_end_of_run(const manifest::ManifestRow& row, std::string_view token, std::string_view message,
                     const RunContext& context, const Task& task) noexcept;

/// The message of the failure record of an item with too many deaths.
std::string describe_deaths(const std::vector<Death>& deaths, const SettingNames& names);

}  // namespace wan::batch
