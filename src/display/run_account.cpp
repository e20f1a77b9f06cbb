#include "display/run_account.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/strings.h"

namespace wan::display {
namespace {

constexpr double s_per_hour = 3600;
constexpr double percent = 100;
constexpr double least_shown_share = 0.0005;  // it would be shown as 0.0 %

constexpr bool is_work(TimeName name) {
  return name == TimeName::text || name == TimeName::image || name == TimeName::encode ||
         name == TimeName::steps || name == TimeName::decode;
}

std::string row_text(const RunAccount& account, TimeName name) {
  const auto index = static_cast<std::size_t>(name);
  std::int64_t calls = 0;
  double least = std::numeric_limits<double>::infinity();
  double most = 0;
  for (const RankTimes& rank : account.ranks) {
    calls += rank[index].calls;
    least = std::min(least, rank[index].seconds);
    most = std::max(most, rank[index].seconds);
  }
  const double seconds = account.seconds(name);
  if (calls == 0 && seconds / account.total_s() < least_shown_share) return {};
  return fmt::format("  {:<15}{:>8}{:>11.2f}{:>11.2f}{:>11.2f}{:>9.1f}\n", to_string(name),
                     calls > 0 ? std::to_string(calls) : "-", least,
                     seconds / static_cast<double>(account.ranks.size()), most,
                     percent * seconds / account.total_s());
}

std::string waiting_words(batch::WaitFor what) {
  switch (what) {
    case batch::WaitFor::row:
      return "for a row";
    case batch::WaitFor::writer:
      return "for a thread that writes";
    case batch::WaitFor::other_groups:
      return "for other groups";
    case batch::WaitFor::last_writing:
      return "for the last videos' writing";
  }
  return {};
}

/// The names of time in which no rank works on a video, those with the most time first.
std::string idle_text(const RunAccount& account) {
  std::vector<std::pair<double, std::string>> reasons;
  for (std::size_t i = 0; i < time_name_count; ++i) {
    const auto name = static_cast<TimeName>(i);
    if (is_work(name) || name == TimeName::idle) continue;
    reasons.emplace_back(account.share(name), std::string(to_string(name)));
  }
  for (std::size_t i = 0; i < batch::wait_count; ++i) {
    const auto what = static_cast<batch::WaitFor>(i);
    reasons.emplace_back(account.waiting_share(what), "idle " + waiting_words(what));
  }
  std::ranges::stable_sort(reasons, std::greater(), &std::pair<double, std::string>::first);
  std::string text;
  for (const auto& [share, name] : reasons) {
    if (share < least_shown_share) continue;
    text += fmt::format("{}{} {:.1f} %", text.empty() ? ": " : ", ", name, percent * share);
  }
  return fmt::format("{}s idle {:.1f} %{}\n", account.unit(), percent * account.idle_share(), text);
}

/// A number with three digits, and no digit before the point cut.
std::string three_digits(double value) {
  return value < 1000 ? fmt::format("{:.3g}", value) : fmt::format("{:.0f}", value);
}

std::string made_text(const RunAccount& account) {
  const GroupSums& sums = account.sums;
  if (sums.items == 0) return {};
  std::string text =
      fmt::format("made {} item{} with {:.1f} s of video: {} items and {} s of video per {}-hour", sums.items,
                  sums.items == 1 ? "" : "s", sums.video_s, three_digits(account.items_per_rank_hour()),
                  three_digits(account.video_s_per_rank_hour()), account.unit());
  if (std::isfinite(account.wh_per_item()))
    text += fmt::format(", {} Wh per item", three_digits(account.wh_per_item()));
  return text + "\n";
}

}  // namespace

double RunAccount::total_s() const { return std::accumulate(wall_s.begin(), wall_s.end(), 0.0); }

double RunAccount::seconds(TimeName name) const {
  double sum = 0;
  for (const RankTimes& rank : ranks) sum += rank[static_cast<std::size_t>(name)].seconds;
  return sum;
}

double RunAccount::share(TimeName name) const { return total_s() > 0 ? seconds(name) / total_s() : 0; }

double RunAccount::idle_share() const {
  double worked = 0;
  for (std::size_t i = 0; i < time_name_count; ++i) {
    if (is_work(static_cast<TimeName>(i))) worked += share(static_cast<TimeName>(i));
  }
  return std::max(1 - worked, 0.0);
}

double RunAccount::waiting_share(batch::WaitFor what) const {
  return total_s() > 0 ? sums.waiting_s[static_cast<std::size_t>(what)] / total_s() : 0;
}

double RunAccount::communication_share() const {
  const double steps_s = seconds(TimeName::steps);
  double communication_s = 0;
  for (const Part part : {Part::all_to_all, Part::weight_gather, Part::wait})
    communication_s += sums.part_s[static_cast<std::size_t>(part)];
  return steps_s > 0 ? communication_s / steps_s : 0;
}

double RunAccount::items_per_rank_hour() const {
  return total_s() > 0 ? static_cast<double>(sums.items) * s_per_hour / total_s() : 0;
}

double RunAccount::video_s_per_rank_hour() const {
  return total_s() > 0 ? sums.video_s * s_per_hour / total_s() : 0;
}

double RunAccount::wh_per_item() const {
  if (!on_gpu || sums.unmetered > 0 || sums.items == 0) return std::numeric_limits<double>::quiet_NaN();
  return sums.energy_j / s_per_hour / static_cast<double>(sums.items);
}

void close_account(RunAccount& account) {
  for (std::size_t rank = 0; rank < account.ranks.size(); ++rank) {
    NamedTime& other = account.ranks[rank][static_cast<std::size_t>(TimeName::other)];
    other = {};
    double named_s = 0;
    for (const NamedTime& time : account.ranks[rank]) named_s += time.seconds;
    other.seconds = account.wall_s.at(rank) - named_s;
  }
}

std::string account_text(const RunAccount& account, std::span<const Note> notes) {
  if (account.ranks.empty() || account.total_s() <= 0) return {};
  const std::size_t count = account.ranks.size();
  std::string text = fmt::format("  {:<15}{:>8}{:>11}{:>11}{:>11}{:>9}\n",
                                 fmt::format("{} {}{}", count, account.unit(), count == 1 ? "" : "s"),
                                 "calls", "least s", "mean s", "most s", "share %");
  for (std::size_t i = 0; i < time_name_count; ++i) text += row_text(account, static_cast<TimeName>(i));
  text += idle_text(account) + made_text(account);
  for (const Note& note : notes) text += fmt::format("note: {}\n", note.text);
  return text;
}

}  // namespace wan::display
