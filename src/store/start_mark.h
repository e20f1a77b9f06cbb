#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "store/claims.h"
#include "store/output_folder.h"

namespace wan::store {

/// Shows readers of the output folder that a run is loading its checkpoint, which may take minutes. The mark
/// is an owner file without an item. One rank of the run makes it before it loads, and the destructor removes
/// it.
class StartMark {
 public:
  /// Creates the output folder if it is missing. Throws Error.
  StartMark(const std::filesystem::path& folder, const std::string& run, const std::string& job,
            const ClaimTiming& timing);
  StartMark(const StartMark&) = delete;
  StartMark& operator=(const StartMark&) = delete;
  StartMark(StartMark&&) = delete;
  StartMark& operator=(StartMark&&) = delete;
  /// Removes the mark. Unless keep_folder() was called, also removes the folders that it had to create, if
  /// they are empty: a checkpoint that cannot be used leaves nothing behind.
  ~StartMark();

  void keep_folder() { created_.clear(); }

 private:
  std::vector<std::filesystem::path> created_;  ///< outermost first
  std::unique_ptr<Claims> claims_;
};

}  // namespace wan::store
