#include "batch/team_helper.h"

#include <chrono>
#include <thread>

#include "batch/runner.h"
#include "core/check.h"
#include "core/clock.h"

namespace wan::batch {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::chrono::milliseconds idle_nap{5};
constexpr double report_period_s = 10;

}  // namespace

bool TeamHelper::help_until_all_are_idle() {
  bool has_stopped = false;
  tools_.teams.announce_idle();
  Stopwatch since_look;
  Stopwatch since_report;
  while (true) {
    tools_.stop.is_told();  // reads the letters
    tools_.writers.settle();
    if (const auto order = tools_.teams.take_invitation()) {
      if (assist(*order) == RunEnd::stopped) has_stopped = true;
      continue;
    }
    if (tools_.teams.are_all_idle()) return has_stopped;
    if (since_look.elapsed_s() > Seconds(context_.timing.heartbeat).count()) {
      since_look = Stopwatch();
      require_living_leaders();
    }
    if (since_report.elapsed_s() > report_period_s) {
      since_report = Stopwatch();
      engine_.report_idle(tools_.observer);
    }
    std::this_thread::sleep_for(idle_nap);
  }
}

RunEnd TeamHelper::assist(const Order& order) {
  orders_.send(order);
  const RunEnd end = take_part(engine_, order, rows_, context_, tools_.observer);
  orders_.engine_has_returned();
  return end;
}

void TeamHelper::require_living_leaders() {
  const auto silent = tools_.claims.find_silent_partner();
  if (!silent) return;
  fail("the leader of another group ({}) is silent for more than {} s: it hangs or is suspended", *silent,
       Seconds(context_.timing.stale_after).count());
}

}  // namespace wan::batch
