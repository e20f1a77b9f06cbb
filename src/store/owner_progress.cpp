#include "store/owner_progress.h"

#include <cmath>
#include <exception>
#include <nlohmann/json.hpp>

#include "store/claim_owner.h"

namespace wan::store {

using nlohmann::json;

void OwnerProgress::show(const std::optional<ClaimProgress>& progress) noexcept {
  const std::scoped_lock lock(mutex_);
  progress_ = progress;
  write();
}

void OwnerProgress::show_writing(int items) noexcept {
  const std::scoped_lock lock(mutex_);
  writing_ = items;
  write();
}

void OwnerProgress::note_stop() noexcept {
  const std::scoped_lock lock(mutex_);
  is_told_to_stop_ = true;
  write();
}

/// With the mutex held.
void OwnerProgress::write() const noexcept {
  try {
    json fields = json::object();
    if (progress_) {
      fields = {{"id", progress_->id},
                {"phase", progress_->phase},
                {"step", progress_->step},
                {"steps", progress_->steps},
                {"step_s", std::round(progress_->step_s * 1e4) / 1e4}};
    }
    if (writing_ > 0) fields["writing"] = writing_;
    if (is_told_to_stop_) fields["told_to_stop"] = true;
    heartbeat_.write_progress(progress_line(fields));
  } catch (const std::exception&) {
    return;  // there is no memory for a line of text, which the engine will report
  }
}

}  // namespace wan::store
