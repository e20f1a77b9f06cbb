#pragma once

#include <mutex>
#include <optional>

#include "store/claim_heartbeat.h"
#include "store/claims.h"

namespace wan::store {

/// The progress line of an owner's file. Any thread may write it.
class OwnerProgress {
 public:
  /// `heartbeat` must outlive this.
  explicit OwnerProgress(const ClaimHeartbeat& heartbeat) : heartbeat_(heartbeat) {}

  void show(const std::optional<ClaimProgress>& progress) noexcept;
  void show_writing(int items) noexcept;
  void note_stop() noexcept;

 private:
  void write() const noexcept;

  const ClaimHeartbeat& heartbeat_;
  std::mutex mutex_;  ///< guards the members below
  std::optional<ClaimProgress> progress_;
  int writing_ = 0;  ///< other items whose outputs are being written
  bool is_told_to_stop_ = false;
};

}  // namespace wan::store
