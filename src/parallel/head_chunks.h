#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/head_division.h"

namespace wan::parallel {

/// The user's wish for how a rank's heads travel between ranks that share a sequence. If both fields are
/// empty, choose_head_chunks() decides.
struct HeadChunkWish {
  std::optional<int> count = {};         ///< number of chunks of equal size
  std::vector<std::int64_t> sizes = {};  ///< or the heads in each chunk, in the order in which they travel

  /// Whether the heads of each of `ulysses` ranks can be divided like this. Always true without a wish.
  /// Counts the ranks that have the most heads; the others have one head less in their largest chunk, and not
  /// none.
  bool fits(std::int64_t heads, int ulysses) const;
};

/// "4", "3+17" or "auto".
std::string describe(const HeadChunkWish& wish);

/// Heads in each exchange of those of `ulysses` ranks that have the most, as in dit::SequenceShape. The ranks
/// share a sequence of `tokens` tokens. Follows the wish if it fits these heads, otherwise
/// choose_head_chunks(). Without a split sequence there is one chunk. `heads`, the model's number, must be at
/// least `ulysses`. All ranks get the same result.
std::vector<std::int64_t> divide_heads(const HeadChunkWish& wish, std::int64_t heads, int ulysses,
                                       std::int64_t tokens);

/// The division into one to three chunks that takes the least time in the following model of a block. Chunks
/// arrive one after the other. Each chunk's attention starts once the chunk has arrived and the one before is
/// done. Its results travel while the next chunk's attention runs.
///
/// Attention works on tiles of 128 queries of a head, one on each multiprocessor at a time. A wave that is
/// not full takes as long as a full one. Nothing hides the first chunk's way in and the last chunk's way
/// back. So these two become small, as long as that wastes no waves. For 20 heads and 32,760 tokens, 1 + 18 +
/// 1 takes 39 waves, as many as all heads at once; two times 10 takes 40.
///
/// `division`: the model's heads over the ranks that share the sequence. The time is that of the ranks with
/// the most heads. If others have one head less, the largest chunk has at least two.
///
/// The model uses reference_machine() with the earlier rates, whatever the GPUs are, because all ranks must
/// get the same result.
std::vector<std::int64_t> choose_head_chunks(const kernels::HeadDivision& division, std::int64_t tokens);

}  // namespace wan::parallel
