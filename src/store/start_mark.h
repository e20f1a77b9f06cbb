#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "store/claims.h"
#include "store/output_folder.h"

namespace wan::store {

/// Tells whoever looks at the output folder that a run is loading its checkpoint, which may take minutes: an
/// owner file without an item. Made by one rank of the run before it loads, gone with the mark.
class StartMark {
 public:
  /// Creates the output folder if need be. Throws Error.
  StartMark(const std::filesystem::path& folder, const std::string& run, const std::string& job,
            const ClaimTiming& timing);
  StartMark(const StartMark&) = delete;
  StartMark& operator=(const StartMark&) = delete;
  StartMark(StartMark&&) = delete;
  StartMark& operator=(StartMark&&) = delete;
  /// Removes the mark and, unless keep_folder() was called, the folders that it had to create, if they are
  /// empty: a checkpoint that cannot be used leaves nothing behind.
  ~StartMark();

  void keep_folder() { created_.clear(); }

 private:
  std::vector<std::filesystem::path> created_;  ///< outermost first
  std::unique_ptr<Claims> claims_;
};

}  // namespace wan::store
