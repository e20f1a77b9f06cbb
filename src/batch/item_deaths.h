#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "batch/item.h"
#include "store/claims.h"

namespace wan::batch {

// A row that ends the program, because the host's memory runs out or a library crashes, must not end every
// later run too. What is known of such ends is kept in OUT/.state/.deaths-<id>.json until the item is done or
// failed.

inline constexpr std::size_t deaths_before_last = 2;    ///< after so many the row is made after all others
inline constexpr std::size_t deaths_before_failed = 3;  ///< after so many it has failed, stage "crash"

/// An attempt at an item with which the program ended.
struct Death {
  std::string token;  ///< of the attempt's owner
  std::string who;    ///< "node7, process 123, job 4711", and an error's message if there was one
  std::string when;   ///< that it was noted, UTC
};

/// The deaths noted for the items of an output folder.
class ItemDeaths {
 public:
  explicit ItemDeaths(std::filesystem::path states_folder) : folder_(std::move(states_folder)) {}

  /// Those with the row as it is now: one whose values have been changed begins anew.
  std::vector<Death> of(const store::Parameters& wanted) const;
  bool are_noted(std::string_view id) const;
  /// Once per token. Throws Error.
  void add(const store::Parameters& wanted, const Death& death) const;
  void clear(std::string_view id) const;

 private:
  std::filesystem::path record(std::string_view id) const;

  std::filesystem::path folder_;
};

/// Whether the end of a claim's owner is to be held against the item: it was at work on it, nobody had told
/// it to stop, its node did not go down with it as far as can be known, and it saved no new step.
bool counts_as_death(const store::DeadOwner& owner, const store::Parameters& wanted,
                     const RunContext& context);

/// Notes that the attempt of `token` at a row ends the run by an error that is not the item's, unless it
/// saved a new step. For a rank that is about to end the job; does not throw.
void note_end_of_run(const manifest::ManifestRow& row, std::string_view token, std::string_view message,
                     const RunContext& context, const Task& task) noexcept;

/// What the failure record says of an item with which the program ended too often.
std::string describe_deaths(const std::vector<Death>& deaths);

}  // namespace wan::batch
