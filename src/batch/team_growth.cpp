#include "batch/team_growth.h"

namespace wan::batch {

bool TeamGrowth::is_worth_joining(const Request& request, int steps_left, double step_s) {
  for (const int width : teams_.idle_widths()) {
    if (width <= width_) break;
    if (!engine_.can_team(request, width)) continue;
    next_width_ = width;
    const double gain_s = steps_left * step_s * (1.0 - static_cast<double>(width_) / width);
    return steps_left > 0 && gain_s >= worth_s_;
  }
  return false;
}

}  // namespace wan::batch
