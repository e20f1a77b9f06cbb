#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace wan::parallel {

/// How a rank's heads are to travel between ranks that share a sequence, as the user says it; both empty: as
/// choose_head_chunks() finds best.
struct HeadChunkWish {
  std::optional<int> count = {};         ///< this many chunks of equal size
  std::vector<std::int64_t> sizes = {};  ///< or heads in each chunk, in the order in which they travel

  /// Whether `own_heads` heads can be divided like this; always, if nothing is wished.
  bool fits(std::int64_t own_heads) const;
};

/// "4", "3+17" or "auto".
std::string describe(const HeadChunkWish& wish);

/// Heads in each exchange of one of `ulysses` ranks that share a sequence of `tokens` tokens: what the wish
/// says, or if it does not fit these heads, as choose_head_chunks() has it. One chunk without a split
/// sequence. `heads`, the model's, must be a multiple of `ulysses`; all ranks get the same.
std::vector<std::int64_t> divide_heads(const HeadChunkWish& wish, std::int64_t heads, int ulysses,
                                       std::int64_t tokens);

/// The division into one to three chunks that takes the least time by this model of a block: chunks arrive
/// one after the other, each attends once it is there and the one before is done, and its results travel
/// while others attend. Attention works on tiles of 128 queries of a head, one on each multiprocessor at a
/// time, and a wave that is not full takes as long as one that is. So the first chunk, whose way in nothing
/// hides, and the last, whose way back nothing hides, become small, as far as waves are not wasted on them:
/// 1 + 18 + 1 of 20 heads and 32,760 tokens take 39 waves, as all at once, and two times 10 take 40.
///
/// It counts with reference_machine(), whatever GPUs there are: all ranks must find the same.
std::vector<std::int64_t> choose_head_chunks(std::int64_t own_heads, int ulysses, std::int64_t tokens);

}  // namespace wan::parallel
