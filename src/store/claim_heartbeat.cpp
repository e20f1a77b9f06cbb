#include "store/claim_heartbeat.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "core/check.h"
#include "core/strings.h"
#include "store/claim_owner.h"
#include "store/output_folder.h"

namespace wan::store {

Presence::Presence(const ClaimTiming& timing)
    : longest_pause_(std::max<Clock::duration>(timing.stale_after / 2, 2 * timing.heartbeat)) {}

void Presence::beat() {
  const Clock::rep now = Clock::now().time_since_epoch().count();
  if (Clock::duration(now - last_beat_) > longest_pause_) here_since_ = now;
  last_beat_ = now;
}

Presence::Clock::time_point Presence::here_since() const {
  const auto now = Clock::now();
  if (now - Clock::time_point(Clock::duration(last_beat_)) > longest_pause_) return now;
  return Clock::time_point(Clock::duration(here_since_));
}

ClaimHeartbeat::ClaimHeartbeat(std::filesystem::path path, const std::string& text, const ClaimTiming& timing)
    : path_(std::move(path)), period_(timing.heartbeat), presence_(timing) {
  create_file(path_, text);
  request_offset_ = static_cast<off_t>(text.size() - request_columns - 1);
  progress_offset_ = request_offset_ - static_cast<off_t>(progress_columns + 1);
  file_ = UniqueFd(::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file_ || ::fstat(file_.get(), &status_) != 0) {
    fail("cannot open {}: {}", path_.string(), std::strerror(errno));
  }
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

ClaimHeartbeat::~ClaimHeartbeat() {
  thread_.request_stop();
  thread_.join();
  ::unlink(path_.c_str());
}

void ClaimHeartbeat::write_progress(std::string_view text) const noexcept {
  if (::pwrite(file_.get(), text.data(), text.size(), progress_offset_) < 0) return;
}

void ClaimHeartbeat::write_request(const std::string& request) {
  if (request == request_) return;
  const std::string line = request_line(request);
  if (::pwrite(file_.get(), line.data(), line.size(), request_offset_) != std::ssize(line) ||
      ::fsync(file_.get()) != 0) {
    fail_to_write("write", path_, errno);
  }
  request_ = request;
}

void ClaimHeartbeat::run(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  for (std::uint64_t count = 1; !wake.wait_for(lock, stop, period_, [&] { return stop.stop_requested(); });
       ++count) {
    presence_.beat();
    // A beat that cannot be written is not an error here. If that lasts, another owner takes the item over,
    // and Claim::is_held() says so. fsync makes other hosts of a network file system see the beat.
    const std::string text = counter_text(count);
    if (::pwrite(file_.get(), text.data(), text.size(), 0) > 0) ::fsync(file_.get());
  }
}

}  // namespace wan::store
