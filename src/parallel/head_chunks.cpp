#include "parallel/head_chunks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "parallel/machine_model.h"

namespace wan::parallel {
namespace {

constexpr std::int64_t query_tile = 128;
constexpr std::int64_t head_dim = 128;
constexpr std::int64_t element_bytes = 2;

std::int64_t divided_up(std::int64_t dividend, std::int64_t divisor) {
  return (dividend + divisor - 1) / divisor;
}

/// Seconds from the departure of the first chunk until the results of the last one are back.
class BlockTime {
 public:
  BlockTime(const MachineModel& machine, int ulysses, std::int64_t tokens)
      : machine_(machine),
        tiles_per_head_(divided_up(tokens, query_tile)),
        wave_s_(4.0 * query_tile * head_dim * static_cast<double>(tokens * machine.multiprocessors) /
                machine.attention_flop_per_s),
        back_s_per_head_(
            static_cast<double>(divided_up(tokens, ulysses) * (ulysses - 1) * head_dim * element_bytes) /
            machine.exchange_bytes_per_s) {}

  double seconds(const std::vector<std::int64_t>& chunks) const {
    double arrived_s = 0;
    double attended_s = 0;
    std::vector<double> ready_s;  // ready_s[i]: when the results of chunk i are ready
    for (const std::int64_t heads : chunks) {
      arrived_s += 3 * way_back_s(heads);  // three times: q, k and v
      attended_s = std::max(attended_s, arrived_s) + attention_s(heads);
      ready_s.push_back(attended_s);
    }
    double back_s = arrived_s;
    for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk)
      back_s = std::max(back_s, ready_s[chunk]) + way_back_s(chunks[chunk]);
    return back_s;
  }

 private:
  double way_back_s(std::int64_t heads) const { return static_cast<double>(heads) * back_s_per_head_; }
  double attention_s(std::int64_t heads) const {
    return static_cast<double>(divided_up(heads * tiles_per_head_, machine_.multiprocessors)) * wave_s_ +
           machine_.chunk_s;
  }

  MachineModel machine_;  // by value: callers pass a temporary
  std::int64_t tiles_per_head_;
  double wave_s_;
  double back_s_per_head_;
};

std::int64_t sum(const std::vector<std::int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
}

/// With the rates of the kernels with which the sizes of chunks were measured.
MachineModel earlier_machine() {
  MachineModel machine = reference_machine();
  machine.linear_flop_per_s = earlier_linear_flop_per_s;
  machine.attention_flop_per_s = earlier_attention_flop_per_s;
  return machine;
}

}  // namespace

bool HeadChunkWish::fits(std::int64_t heads, int ulysses) const {
  const kernels::HeadDivision division{.heads = heads, .parts = ulysses};
  const std::int64_t most = division.per_part();
  if (!count && sizes.empty()) return true;
  if (count ? most % *count != 0 : sum(sizes) != most) return false;
  return division.is_even() || (count ? most / *count : *std::ranges::max_element(sizes)) > 1;
}

std::string describe(const HeadChunkWish& wish) {
  if (wish.count) return fmt::format("{}", *wish.count);
  return wish.sizes.empty() ? "auto" : fmt::format("{}", fmt::join(wish.sizes, "+"));
}

std::vector<std::int64_t> divide_heads(const HeadChunkWish& wish, std::int64_t heads, int ulysses,
                                       std::int64_t tokens) {
  WAN_CHECK(heads >= ulysses, "{} heads over {} ranks", heads, ulysses);
  const kernels::HeadDivision division{.heads = heads, .parts = ulysses};
  const std::int64_t most = division.per_part();
  if (ulysses == 1) return {most};
  const bool is_said = wish.count || !wish.sizes.empty();
  if (!is_said || !wish.fits(heads, ulysses)) return choose_head_chunks(division, tokens);
  if (!wish.count) return wish.sizes;
  std::vector<std::int64_t> equal(static_cast<std::size_t>(*wish.count), most / *wish.count);
  return equal;
}

std::vector<std::int64_t> choose_head_chunks(const kernels::HeadDivision& division, std::int64_t tokens) {
  const std::int64_t heads = division.per_part();
  if (division.parts == 1) return {heads};
  const BlockTime time(earlier_machine(), static_cast<int>(division.parts), tokens);
  std::vector<std::int64_t> best{heads};
  double least_s = time.seconds(best);
  const auto consider = [&](std::vector<std::int64_t> chunks) {
    if (!division.is_even() && *std::ranges::max_element(chunks) == 1) return;
    const double chunks_s = time.seconds(chunks);
    if (chunks_s >= least_s) return;
    least_s = chunks_s;
    best = std::move(chunks);
  };
  for (std::int64_t first = 1; first < heads; ++first) {
    consider({first, heads - first});
    for (std::int64_t last = 1; last < heads - first; ++last) consider({first, heads - first - last, last});
  }
  return best;
}

}  // namespace wan::parallel
