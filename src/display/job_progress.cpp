#include "display/job_progress.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

namespace wan::display {
namespace {

constexpr double write_every_s = 1;

std::int64_t unix_time_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// Whether a phase is work on a video. Steps are counted one by one.
bool is_work(const PhaseEvent& event) {
  constexpr std::array<std::string_view, 4> work{"text", "image", "encode", "decode"};
  return !event.is_background && std::ranges::find(work, event.phase) != work.end();
}

}  // namespace

JobProgress::JobProgress(Place place, std::function<double()> now_s)
    : place_(std::move(place)), now_s_(std::move(now_s)), estimate_(place_.group_count) {
  progress_.run = place_.run;
  progress_.ranks = place_.group_ranks;
  progress_.failed_before = place_.failed_before;
  for (const store::JobStart& start : store::read_job_starts(place_.start_record.parent_path())) {
    for (const store::GroupProgress& group : start.groups) {
      if (!group.id.empty() && group.run != place_.run) left_behind_[group.id] = group;
    }
  }
  write(true);
}

void JobProgress::on_phase(const PhaseEvent& event) {
  if (is_work(event)) progress_.used_rank_s += event.wall_s * progress_.ranks;
  write(false);
}

void JobProgress::on_step(const StepEvent& event) {
  if (event.group_rank != 0) return;  // every rank has an event; the leader's speaks for all
  estimate_.end_step(event, now_s_());
  progress_.step = event.step + 1;
  progress_.steps = event.step_count;
  progress_.step_s = event.wall_s;
  progress_.ranks = event.group_ranks;
  progress_.used_rank_s += event.wall_s * event.group_ranks;
  ++progress_.steps_made;
  write(progress_.steps_made == 1);
}

void JobProgress::on_stretch(const StretchEvent& stretch) {
  progress_.ranks = stretch.ranks;
  count_lost_steps(stretch.first_step);
}

/// The first stretch of a row tells where it goes on. The steps behind that place are made again.
void JobProgress::count_lost_steps(int first_step) {
  const auto earlier = left_behind_.find(progress_.id);
  if (earlier == left_behind_.end()) return;
  const store::GroupProgress& before = earlier->second;
  const int lost = std::max(before.step - first_step, 0);
  progress_.lost_steps += lost;
  progress_.lost_rank_s += lost * before.step_s * before.ranks;
  left_behind_.erase(earlier);
}

void JobProgress::on_item_start(const batch::ItemStart& start) {
  if (is_first_item_) progress_.settled_before = start.settled;
  is_first_item_ = false;
  progress_.rows = start.rows;
  progress_.in_hand = true;
  progress_.id = start.request.id;
  progress_.step = 0;
  progress_.steps = start.request.sample_steps;
  progress_.ranks = place_.group_ranks;
  estimate_.begin_item(start, now_s_());
  write(true);
}

void JobProgress::on_writing(const std::string& id) {
  writing_.insert(id);
  estimate_.finish_item(now_s_());
  write(false);
}

void JobProgress::on_item_end(const batch::ItemOutcome& outcome) {
  const bool was_written = writing_.erase(outcome.id) > 0;
  // Another row may have been begun while a thread wrote this one.
  const bool is_current = outcome.id == progress_.id;
  if (is_current) progress_.in_hand = false;
  if (outcome.status != batch::ItemStatus::open) {
    const bool has_failed = outcome.status == batch::ItemStatus::failed;
    ++(has_failed ? progress_.failed : progress_.made);
    if (!has_failed && was_written) estimate_.finish_writing(outcome.background_s());
    if (!has_failed && !was_written) estimate_.finish_item(now_s_());
    if (is_current) {
      progress_.id.clear();
      progress_.step = progress_.steps = 0;
    }
  }
  write(true);
}

void JobProgress::write(bool at_once) {
  const double now_s = now_s_();
  if (!at_once && now_s - written_s_ < write_every_s) return;
  written_s_ = now_s;
  const auto left_s = estimate_.time_left_s(now_s);
  progress_.left_s = left_s ? std::llround(std::max(*left_s, 1.0)) : 0;
  progress_.at_s = unix_time_s();
  store::write_group_progress(place_.start_record, place_.group_index, progress_);
}

}  // namespace wan::display
