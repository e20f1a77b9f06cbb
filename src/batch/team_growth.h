#pragma once

#include "batch/team_letters.h"
#include "wan/engine.h"

namespace wan::batch {

/// Decides when the team that makes an item hands it over to a wider one.
class TeamGrowth {
 public:
  /// `width`: groups of the present team. All must outlive this.
  TeamGrowth(const Engine& engine, const TeamLetters& teams, int width, double worth_s)
      : engine_(engine), teams_(teams), width_(width), next_width_(width), worth_s_(worth_s) {}

  /// Whether a wider team of idle neighbours would save at least `worth_s` in the steps that are left.
  /// `step_s`: the last step's seconds.
  bool is_worth_joining(const Request& request, int steps_left, double step_s);

  int width() const { return width_; }
  /// The width of that team, after is_worth_joining() has returned true.
  int next_width() const { return next_width_; }

 private:
  const Engine& engine_;
  const TeamLetters& teams_;
  int width_;
  int next_width_;
  double worth_s_;
};

}  // namespace wan::batch
