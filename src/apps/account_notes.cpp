#include "apps/account_notes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/head_division.h"

namespace wan::apps {
namespace {

using display::TimeName;

constexpr double percent = 100;

/// The cost of a division in communication for one item, in units that only compare divisions. The forms are
/// those of the cost model (analysis/wan_analysis/cost_model.py), times the ranks of a group.
struct CommunicationCost {
  double exchange = 0;  ///< of heads
  double gather = 0;    ///< of weights
  double wait = 0;      ///< for the other pass
};

/// Heads of the rank that has the most, over those of an even division: 3 of 12 on 5 ranks are 1.25.
double unevenness(std::int64_t heads, const RankDivision& division) {
  if (heads == 0) return 1;
  const kernels::HeadDivision over{.heads = heads, .parts = division.ulysses};
  return static_cast<double>(over.per_part() * over.parts) / static_cast<double>(heads);
}

CommunicationCost cost_of(const RankDivision& division, std::int64_t heads) {
  const double ranks = division.group_size;
  const double ulysses = division.ulysses;
  return {
      .exchange = ranks * (ulysses - 1) / (ulysses * ulysses) / division.cfg * unevenness(heads, division),
      .gather = division.is_sharded ? ranks - 1 : 0,
      .wait = division.cfg == 2 ? ranks : 0};
}

double part_s(const RunAccount& account, Part part) {
  return account.sums.part_s[static_cast<std::size_t>(part)];
}

/// Seconds after a change whose cost goes from `before` to `after`. Nothing if the run tells nothing of that
/// cost.
std::optional<double> scaled(double seconds, double before, double after) {
  if (after == 0) return 0;
  if (before == 0) return std::nullopt;
  return seconds * after / before;
}

/// Seconds in which ranks wait, in the exchange, for the attention of those that have more heads.
double waiting_for_heads_s(const RunAccount& account, std::int64_t heads, const RankDivision& division) {
  return part_s(account, Part::attention) * (unevenness(heads, division) - 1);
}

/// Seconds of communication that another division would save; below 0 if it costs more.
std::optional<double> saved_communication_s(const RunAccount& account, const AccountFacts& facts,
                                            const RankDivision& then) {
  const CommunicationCost before = cost_of(facts.division, facts.heads);
  const CommunicationCost after = cost_of(then, facts.heads);
  const double all_exchange_s = part_s(account, Part::all_to_all);
  const double waiting_s =
      std::min(waiting_for_heads_s(account, facts.heads, facts.division), all_exchange_s);
  const double exchange_s = all_exchange_s - waiting_s;
  const double gather_s = part_s(account, Part::weight_gather);
  const double wait_s = part_s(account, Part::wait);
  const auto exchange = scaled(exchange_s, before.exchange, after.exchange);
  const auto gather = scaled(gather_s, before.gather, after.gather);
  if (!exchange || !gather) return std::nullopt;
  // Passes that are new to a run wait for each other for a short time only.
  const double wait = scaled(wait_s, before.wait, after.wait).value_or(0);
  return all_exchange_s + gather_s + wait_s - *exchange - *gather - wait -
         waiting_for_heads_s(account, facts.heads, then);
}

/// Whether the run had enough items to keep the groups of another division busy.
bool can_be_kept_busy(const RunAccount& account, const RankDivision& then) {
  constexpr std::int64_t items_of_a_group = 2;
  const auto groups = static_cast<std::int64_t>(account.ranks.size()) / then.group_size;
  return account.sums.items >= items_of_a_group * groups;
}

/// Whether the ranks of another division would wait longer for those with the most heads.
bool is_less_even(const AccountFacts& facts, const RankDivision& then) {
  return unevenness(facts.heads, then) > unevenness(facts.heads, facts.division);
}

std::string options_of(const RankDivision& now, const RankDivision& then) {
  std::string text;
  if (then.group_size != now.group_size) text += fmt::format(" --group-size {}", then.group_size);
  if (then.cfg != now.cfg) text += fmt::format(" --cfg-size {}", then.cfg);
  if (then.ulysses != now.ulysses) text += fmt::format(" --ulysses-size {}", then.ulysses);
  if (then.is_sharded != now.is_sharded)
    text += fmt::format(" --dit-fsdp {}", then.is_sharded ? "on" : "off");
  return text.empty() ? text : text.substr(1);
}

std::string later(const RankDivision& now, const RankDivision& then) {
  return then.group_size < now.group_size ? "; each item then takes longer, on fewer ranks" : "";
}

std::optional<Note> communication_note(const RunAccount& account, const AccountFacts& facts) {
  const double of_steps = account.communication_share();
  if (of_steps < threshold::communication) return std::nullopt;
  const RankDivision* best = nullptr;
  double best_s = 0;
  for (const RankDivision& then : facts.others) {
    if (then == facts.division || then.group_size > facts.division.group_size) continue;
    if (then.is_offloaded && !facts.division.is_offloaded) continue;
    if (then.group_size < facts.division.group_size && !can_be_kept_busy(account, then)) continue;
    const auto saved_s = saved_communication_s(account, facts, then);
    if (!saved_s || *saved_s <= best_s) continue;
    best = &then;
    best_s = *saved_s;
  }
  const double gain = best_s / account.total_s();
  if (best == nullptr || gain < threshold::gain) return std::nullopt;
  return Note{
      .kind = "communication",
      .text = fmt::format("communication is {:.1f} % of the steps: {} would take about {:.1f} % less{}",
                          percent * of_steps, options_of(facts.division, *best), percent * gain,
                          later(facts.division, *best)),
      .share = of_steps * account.share(TimeName::steps),
      .gain = gain};
}

std::optional<Note> vae_note(const RunAccount& account, const AccountFacts& facts) {
  const double share = account.share(TimeName::encode) + account.share(TimeName::decode);
  if (share < threshold::vae || !facts.vae_undivided) return std::nullopt;
  const auto cost = [&](int ranks) { return *facts.vae_undivided * ranks + 1 - *facts.vae_undivided; };
  const RankDivision* best = nullptr;
  for (const RankDivision& then : facts.others) {
    if (then.group_size >= facts.division.group_size || !can_be_kept_busy(account, then)) continue;
    if ((then.is_offloaded && !facts.division.is_offloaded) || is_less_even(facts, then)) continue;
    if (best == nullptr || then.group_size < best->group_size) best = &then;
  }
  if (best == nullptr) return std::nullopt;
  const double gain = share * (1 - cost(best->group_size) / cost(facts.division.group_size));
  if (gain < threshold::gain) return std::nullopt;
  return Note{
      .kind = "vae",
      .text = fmt::format("the VAE takes {:.1f} %: {} would take about {:.1f} % less{}", percent * share,
                          options_of(facts.division, *best), percent * gain, later(facts.division, *best)),
      .share = share,
      .gain = gain};
}

std::optional<Note> idle_groups_note(const RunAccount& account, const AccountFacts& facts) {
  const double share = account.waiting_share(batch::WaitFor::other_groups);
  if (share < threshold::idle_groups || account.sums.items == 0) return std::nullopt;
  const std::string found = fmt::format("{}s idle {:.1f} % while other groups make the last items",
                                        account.unit(), percent * share);
  if (!facts.joins_groups) {
    return Note{
        .kind = "idle groups",
        .text = fmt::format("{}: with --join-groups on idle groups help them, which saves up to {:.1f} %",
                            found, percent * share),
        .share = share,
        .gain = share};
  }
  const int group_size = facts.division.group_size;
  const auto groups = static_cast<std::int64_t>(account.ranks.size()) / group_size;
  const std::int64_t rounds = (account.sums.items + groups - 1) / groups;
  const std::int64_t enough = (account.sums.items + rounds - 1) / rounds;
  const double gain = std::min(share, 1 - static_cast<double>(enough) / static_cast<double>(groups));
  if (enough >= groups || gain < threshold::gain) return std::nullopt;
  return Note{
      .kind = "idle groups",
      .text = fmt::format(
          "{}: {} {}{} would make these {} items in about the same time, with {:.1f} % fewer {}-hours", found,
          enough * group_size, account.unit(), enough * group_size == 1 ? "" : "s", account.sums.items,
          percent * gain, account.unit()),
      .share = share,
      .gain = gain};
}

/// Videos are written by the ranks themselves.
std::optional<Note> writing_note(const RunAccount& account, const AccountFacts& facts) {
  // In `write` all ranks of a group wait for the leader. It alone has the name `publish`; the others are
  // idle.
  const double all =
      account.share(TimeName::write) + account.share(TimeName::publish) * facts.division.group_size;
  if (facts.writers > 0 || all < threshold::writing) return std::nullopt;
  return Note{.kind = "writing",
              .text = fmt::format(
                  "{}s wait {:.1f} % for the writing of videos: --writers 1 writes them beside the next "
                  "items and would save about that",
                  account.unit(), percent * all),
              .share = all,
              .gain = all};
}

/// The threads that write are slower than the groups.
std::optional<Note> writers_note(const RunAccount& account, const AccountFacts& facts) {
  const double share = account.waiting_share(batch::WaitFor::writer);
  if (facts.writers == 0 || share < threshold::writing || account.sums.items == 0) return std::nullopt;
  double making_s = 0;  // of all items, by their groups
  for (const TimeName name :
       {TimeName::text, TimeName::image, TimeName::encode, TimeName::steps, TimeName::decode})
    making_s += account.seconds(name) / facts.division.group_size;
  const int needed = making_s > 0 ? static_cast<int>(std::ceil(account.sums.writing_s / making_s)) : 0;
  return Note{
      .kind = "writers",
      .text = fmt::format("{}s wait {:.1f} % for a thread that writes videos: --writers {} would save up to "
                          "that, if cores and memory are there",
                          account.unit(), percent * share, std::max(needed, facts.writers + 1)),
      .share = share,
      .gain = share};
}

std::optional<Note> load_note(const RunAccount& account) {
  const double share = account.share(TimeName::start_up) + account.share(TimeName::load);
  if (share < threshold::load || account.sums.items == 0) return std::nullopt;
  return Note{.kind = "load",
              .text = fmt::format(
                  "start and loading take {:.1f} %: twice as many rows in one start ({} in place of {}) "
                  "would take about {:.1f} % less for each",
                  percent * share, 2 * account.sums.items, account.sums.items, percent * share / 2),
              .share = share,
              .gain = share / 2};
}

std::optional<Note> offload_note(const RunAccount& account, const AccountFacts& facts) {
  const double share = part_s(account, Part::host_copy) / account.total_s();
  if (!facts.division.is_offloaded || share < threshold::offload) return std::nullopt;
  const auto holds_both = std::ranges::find_if(facts.others, [&](const RankDivision& division) {
    return !division.is_offloaded && !is_less_even(facts, division);
  });
  if (holds_both == facts.others.end()) return std::nullopt;
  const std::string options = options_of(facts.division, *holds_both);
  return Note{.kind = "offload",
              .text = fmt::format(
                  "experts that wait on the host cost {:.1f} %: {}--offload-model off keeps both in the "
                  "GPUs' memory and would save about that",
                  percent * share, options.empty() ? "" : options + " "),
              .share = share,
              .gain = share};
}

std::optional<Note> attention_note(const RunAccount& account, const AccountFacts& facts) {
  if (!facts.fallback) return std::nullopt;
  const double share = part_s(account, Part::attention) / account.total_s();
  const double gain = share * unevenness(facts.heads, facts.division) * facts.fallback->saved;
  if (gain < threshold::gain) return std::nullopt;
  return Note{
      .kind = "attention",
      .text = fmt::format("attention takes {:.1f} % and fell back to {}: {} would take about {:.1f} % less",
                          percent * share, facts.fallback->backend, facts.fallback->change, percent * gain),
      .share = share,
      .gain = gain};
}

}  // namespace

std::vector<Note> account_notes(const RunAccount& account, const AccountFacts& facts) {
  if (account.total_s() <= 0) return {};
  std::vector<Note> notes;
  for (std::optional<Note>& note : std::to_array(
           {communication_note(account, facts), vae_note(account, facts), idle_groups_note(account, facts),
            writing_note(account, facts), writers_note(account, facts), load_note(account),
            offload_note(account, facts), attention_note(account, facts)})) {
    if (note) notes.push_back(*note);
  }
  std::ranges::stable_sort(notes, std::greater(), &Note::gain);
  return notes;
}

}  // namespace wan::apps
