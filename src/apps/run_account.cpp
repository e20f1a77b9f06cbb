#include "apps/run_account.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "comm/communicator.h"
#include "kernels/attention.h"

namespace wan::apps {
namespace {

constexpr std::size_t most_numbers = 1U << 20U;  // of all ranks together, 8 MiB
constexpr double per_s = 1e9;                    // times travel between the ranks as whole nanoseconds

std::int64_t whole(double value, double unit) { return std::llround(value * unit); }

/// Numbers that are added up over the ranks, one after the other.
class Adder {
 public:
  explicit Adder(std::size_t count) { numbers_.reserve(count); }
  void add(std::int64_t number) { numbers_.push_back(number); }
  void add_s(double seconds) { add(whole(seconds, per_s)); }
  /// Each call of an all_reduce takes the memory of all ranks' numbers, so that many go in several calls.
  void sum(comm::Communicator& world) {
    const std::size_t most = std::max<std::size_t>(most_numbers / static_cast<std::size_t>(world.size()), 1);
    for (std::size_t at = 0; at < numbers_.size(); at += most) {
      const std::span<std::int64_t> part = std::span(numbers_).subspan(at);
      world.all_reduce(part.first(std::min(most, part.size())), comm::ReduceOp::sum).wait();
    }
    at_ = 0;
  }
  std::int64_t next() { return numbers_.at(at_++); }
  double next_s() { return static_cast<double>(next()) / per_s; }

 private:
  std::vector<std::int64_t> numbers_;
  std::size_t at_ = 0;
};

void add_sums(Adder& adder, const display::GroupSums& sums) {
  for (const double seconds : sums.part_s) adder.add_s(seconds);
  for (const double seconds : sums.waiting_s) adder.add_s(seconds);
  for (const double number : {sums.video_s, sums.writing_s, sums.energy_j}) adder.add_s(number);
  adder.add(sums.items);
  adder.add(sums.unmetered);
}

display::GroupSums next_sums(Adder& adder) {
  display::GroupSums sums;
  for (double& seconds : sums.part_s) seconds = adder.next_s();
  for (double& seconds : sums.waiting_s) seconds = adder.next_s();
  for (double* number : {&sums.video_s, &sums.writing_s, &sums.energy_j}) *number = adder.next_s();
  sums.items = adder.next();
  sums.unmetered = adder.next();
  return sums;
}

RankDivision division_of(const comm::GridShape& grid, const parallel::NetworkPlacement& transformers) {
  return {.group_size = grid.group_size,
          .cfg = grid.cfg,
          .ulysses = grid.ulysses,
          .is_sharded = transformers.is_sharded(),
          .is_offloaded = transformers.waits_on_host() || transformers.takes_turns()};
}

/// Measured on an H200 (kernels/attention_backends.cpp): FlashInfer 658 TFLOP/s, cuDNN 576.
constexpr double saved_by_flashinfer = 1 - 576.0 / 658.0;

std::optional<AccountFacts::Fallback> fallback_of(const launch::Options& options, const launch::RunPlan& plan,
                                                  const launch::RunDevice& device) {
  constexpr int hopper = 9;
  constexpr std::int64_t head_dim = 128;
  const checkpoint::TransformerConfig& transformer = plan.model.transformer;
  const std::int64_t own_head_dim = transformer.dim / transformer.num_heads;
  if (!device.compute.on_gpu() || options.attention != kernels::AttentionBackend::automatic)
    return std::nullopt;
  if (device.gpu.compute_major != hopper || device.compute.type != at::kBFloat16 || own_head_dim != head_dim)
    return std::nullopt;
  const auto chosen = kernels::attention_backend_for(device.compute.device, device.compute.type, own_head_dim,
                                                     plan.model.tokens.tokens());
  if (kernels::to_string(chosen) != "cudnn") return std::nullopt;
  return AccountFacts::Fallback{
      .backend = "cudnn", .change = "a build with FlashInfer", .saved = saved_by_flashinfer};
}

}  // namespace

display::RunAccount add_up_account(comm::Communicator& world, const display::AccountLedger* ledger,
                                   std::span<const RankReport> reports, double wall_s) {
  const auto ranks = static_cast<std::size_t>(world.size());
  Adder adder(ranks * (1 + 2 * display::time_name_count) + 2 * part_count);
  const std::map<int, display::RankTimes> times =
      ledger != nullptr ? ledger->times() : decltype(ledger->times())();
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    adder.add_s(static_cast<int>(rank) == world.rank() ? wall_s : 0);
    const auto found = times.find(static_cast<int>(rank));
    for (const display::NamedTime& time : found == times.end() ? display::RankTimes() : found->second) {
      adder.add(time.calls);
      adder.add_s(time.seconds);
    }
  }
  std::set<int> metered;
  for (const RankReport& report : reports) metered.insert(report.world_rank);
  add_sums(adder, ledger != nullptr ? ledger->sums(metered) : display::GroupSums());
  adder.sum(world);
  display::RunAccount account;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    account.wall_s.push_back(adder.next_s());
    display::RankTimes& own = account.ranks.emplace_back();
    for (display::NamedTime& time : own) time = {.calls = adder.next(), .seconds = adder.next_s()};
  }
  account.sums = next_sums(adder);
  display::close_account(account);
  return account;
}

AccountFacts account_facts(const launch::Options& options, const launch::RunPlan& plan,
                           const launch::RunDevice& device, int writers) {
  AccountFacts facts{.division = division_of(plan.layout.guided, plan.layout.placement.transformers),
                     .heads = plan.model.transformer.num_heads,
                     .writers = writers,
                     .joins_groups = options.join_groups,
                     .fallback = fallback_of(options, plan, device)};
  if (device.compute.on_gpu()) facts.vae_undivided = plan.machine.figures.model.vae_decode_undivided;
  launch::Options free = options;
  free.group_size = free.cfg_size = free.ulysses_size = std::nullopt;
  free.dit_fsdp = launch::Switch::automatic;
  free.offload_model = launch::Offload::automatic;
  for (const launch::LayoutCandidate& candidate :
       launch::weigh_layouts(free, plan.machine, plan.model).candidates) {
    if (candidate.is_allowed() && candidate.fits())
      facts.others.push_back(division_of(candidate.grid, candidate.placement.transformers));
  }
  return facts;
}

}  // namespace wan::apps
