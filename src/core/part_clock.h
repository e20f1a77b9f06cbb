#pragma once

#include <array>

#include "core/clock.h"
#include "wan/engine.h"

namespace wan {

/// Adds up host seconds by part of a step. Parts do not nest: the innermost scope alone counts its time.
class PartClock {
 public:
  class Scope {
   public:
    Scope(PartClock& clock, Part part) : clock_(clock), part_(part), outer_(clock.current_) {
      clock_.current_ = this;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() {
      const double elapsed_s = watch_.elapsed_s();
      clock_.part_s_[static_cast<std::size_t>(part_)] += elapsed_s - inner_s_;
      if (outer_ != nullptr) outer_->inner_s_ += elapsed_s;
      clock_.current_ = outer_;
    }

   private:
    PartClock& clock_;
    Part part_;
    Scope* outer_;
    double inner_s_ = 0;  ///< spent in scopes opened inside this one
    Stopwatch watch_;
  };

  Scope measure(Part part) { return {*this, part}; }
  const std::array<double, part_count>& part_s() const { return part_s_; }
  void reset() { part_s_ = {}; }

 private:
  std::array<double, part_count> part_s_{};
  Scope* current_ = nullptr;
};

}  // namespace wan
