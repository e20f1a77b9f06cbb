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

/// Knows since when this process has been running without a long pause. A pause comes from a suspension or a
/// stalled disk. After one, this process cannot judge the silence of others: they may have been away as long.
/// beat() is for one thread, here_since() for any.
class Presence {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Presence(const ClaimTiming& timing);
  void beat();
  Clock::time_point here_since() const;

 private:
  Clock::duration longest_pause_;
  std::atomic<Clock::rep> last_beat_ = Clock::now().time_since_epoch().count();
  std::atomic<Clock::rep> here_since_ = last_beat_.load();
};

/// Owns the owner file and counts up in it until destroyed.
class ClaimHeartbeat {
 public:
  /// Makes the file with this text (owner_text()). Throws Error.
  ClaimHeartbeat(std::filesystem::path path, const std::string& text, const ClaimTiming& timing);
  ClaimHeartbeat(const ClaimHeartbeat&) = delete;
  ClaimHeartbeat& operator=(const ClaimHeartbeat&) = delete;
  ClaimHeartbeat(ClaimHeartbeat&&) = delete;
  ClaimHeartbeat& operator=(ClaimHeartbeat&&) = delete;
  ~ClaimHeartbeat();

  /// If this fails, readers see an older line.
  void write_progress(std::string_view text) const noexcept;
  /// Flushes the line, so that whoever sees the claim that follows can read it. Throws Error.
  void write_request(const std::string& request);

  const Presence& presence() const { return presence_; }
  const std::filesystem::path& path() const { return path_; }
  bool is_file(const struct stat& other) const {
    return other.st_ino == status_.st_ino && other.st_dev == status_.st_dev;
  }

 private:
  void run(const std::stop_token& stop);

  std::filesystem::path path_;
  std::chrono::milliseconds period_;
  Presence presence_;
  off_t progress_offset_ = 0;
  off_t request_offset_ = 0;
  std::string request_;
  UniqueFd file_;
  struct stat status_ {};
  std::jthread thread_;
};

}  // namespace wan::store
