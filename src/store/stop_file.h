#pragma once

#include <filesystem>
#include <functional>
#include <optional>

namespace wan::store {

/// OUT/STOP: whoever makes it stops all runs that write to the folder OUT, and keeps new ones from starting.
/// It belongs to the user, so the program neither reads nor removes it. Anything of that name counts.
std::filesystem::path stop_file(const std::filesystem::path& output_folder);

/// Whether it is there now.
bool has_stop_file(const std::filesystem::path& output_folder);

/// Throws UsageError if it is there. A run that it would stop at once is not started, because loading the
/// checkpoint would be in vain.
void require_no_stop_file(const std::filesystem::path& output_folder);

/// Looks for the file from time to time, at most once a second, because the folder may lie on a slow network
/// file system.
class StopFileWatch {
 public:
  /// `now_s`: seconds on a clock that only goes forward; empty: the system's.
  explicit StopFileWatch(std::filesystem::path output_folder, std::function<double()> now_s = {});

  /// Whether the file has been there at one of the looks, of which this call may be one.
  bool has_seen_file();

 private:
  std::filesystem::path output_folder_;
  std::function<double()> now_s_;
  std::optional<double> last_look_s_;
  bool has_seen_file_ = false;
};

}  // namespace wan::store
