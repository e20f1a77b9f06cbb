#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "core/file.h"
#include "store/claims.h"

namespace wan::store {

/// Owns the owner file and bumps its counter until destroyed.
class ClaimBoard::Heartbeat {
 public:
  /// Makes the file with this text (owner_text()). Throws Error.
  Heartbeat(std::filesystem::path path, const std::string& text, const ClaimTiming& timing);
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;
  Heartbeat(Heartbeat&&) = delete;
  Heartbeat& operator=(Heartbeat&&) = delete;
  ~Heartbeat();

  /// Should it fail, whoever looks sees an older line.
  void write_progress(std::string_view text) const noexcept;
  /// Flushed, so that whoever sees the link that follows reads this line. Throws Error.
  void write_request(const std::string& request);

  /// Since when this process has been running without a long pause. After one, as when it was suspended or
  /// its disk stalled, it cannot know of others' silence: they may have been away as long.
  std::chrono::steady_clock::time_point here_since() const;

  const std::filesystem::path& path() const { return path_; }
  bool is_file(const struct stat& other) const {
    return other.st_ino == status_.st_ino && other.st_dev == status_.st_dev;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void run(const std::stop_token& stop);

  std::filesystem::path path_;
  std::chrono::milliseconds period_;
  Clock::duration longest_pause_;
  std::atomic<Clock::rep> last_beat_ = Clock::now().time_since_epoch().count();
  std::atomic<Clock::rep> here_since_ = last_beat_.load();
  off_t progress_offset_ = 0;
  off_t request_offset_ = 0;
  std::string request_;
  UniqueFd file_;
  struct stat status_ {};
  std::jthread thread_;
};

}  // namespace wan::store
