#pragma once

#include <array>
#include <exception>
#include <optional>
#include <utility>

#include "core/clock.h"
#include "wan/engine.h"

namespace wan {

/// Receives a call when the work issued to a device changes from one part of a step to another.
class PartListener {
 public:
  virtual ~PartListener() = default;
  /// Work that is issued from now on belongs to `part`, or to no part. May throw. The clock also calls it
  /// when a scope ends; it keeps an error from there and throws it when the next scope begins.
  virtual void on_part(std::optional<Part> part) = 0;
};

/// Adds up host seconds for each part of a step. Parts do not nest: only the innermost scope's part counts
/// time.
class PartClock {
 public:
  PartClock() = default;
  /// `listener` may be null. It must outlive the clock.
  explicit PartClock(PartListener* listener) : listener_(listener) {}

  class Scope {
   public:
    /// Throws the listener's error from this call, or the one that it threw when the last scope ended.
    Scope(PartClock& clock, Part part) : clock_(clock), part_(part), outer_(clock.current_) {
      if (clock_.failure_) std::rethrow_exception(std::exchange(clock_.failure_, nullptr));
      if (clock_.listener_ != nullptr) clock_.listener_->on_part(part);
      clock_.current_ = this;  // set last, because a scope that throws here has no end
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() {
      const double elapsed_s = watch_.elapsed_s();
      clock_.part_s_[static_cast<std::size_t>(part_)] += elapsed_s - inner_s_;
      if (outer_ != nullptr) outer_->inner_s_ += elapsed_s;
      clock_.current_ = outer_;
      clock_.leave_for(outer_ != nullptr ? std::optional(outer_->part_) : std::nullopt);
    }

   private:
    PartClock& clock_;
    Part part_;
    Scope* outer_;
    double inner_s_ = 0;  ///< seconds in scopes that were opened inside this one
    Stopwatch watch_;
  };

  Scope measure(Part part) { return {*this, part}; }
  const std::array<double, part_count>& part_s() const { return part_s_; }
  /// Sets all times to 0. Also drops an error from the end of a scope; the device reports it again if it
  /// lasts.
  void reset() {
    part_s_ = {};
    failure_ = nullptr;
  }

 private:
  /// For a scope's destructor, which must not throw.
  void leave_for(std::optional<Part> part) noexcept {
    if (listener_ == nullptr) return;
    try {
      listener_->on_part(part);
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
    }
  }

  std::array<double, part_count> part_s_{};
  Scope* current_ = nullptr;
  std::exception_ptr failure_;  ///< thrown by the listener when a scope ended
  PartListener* listener_ = nullptr;
};

}  // namespace wan
