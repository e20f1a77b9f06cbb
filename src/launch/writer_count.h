#pragma once

#include <cstdint>

#include "comm/mpi/ranks.h"
#include "launch/options.h"
#include "launch/run_input.h"

namespace wan::launch {

/// `--writers auto` takes no more threads than this, and a plan takes it to have as many.
inline constexpr int most_automatic_writers = 4;

/// Host memory that a video takes from its decoding until it is written: its frames, and the encoder's own.
/// The largest of the manifest's rows.
std::int64_t bytes_in_writing(const RunInput& input, bool save_latents, bool step_latents = false);

/// The threads that fit: each has a core beside the one that computes, and all videos in writing and the one
/// that is being made take at most half of the memory. 0 if not even two videos fit; at most
/// most_automatic_writers.
int writers_that_fit(int cores, std::uint64_t memory_bytes, std::int64_t video_bytes);

/// The threads that write a group's videos, on this rank if it leads one: those that the user asked for, or
/// those that fit into this rank's share of its node.
int writers_of(const Options& options, const RunInput& input, const comm::MpiRanks& ranks);

}  // namespace wan::launch
