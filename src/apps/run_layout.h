#pragma once

#include "apps/options.h"
#include "apps/run_input.h"
#include "comm/mpi_environment.h"
#include "parallel/layout.h"
#include "parallel/plan.h"

namespace wan::apps {

/// The layout of a run and what follows from it.
struct RunLayout {
  comm::GridShape guided;
  comm::GridShape unguided;
  bool dit_fsdp = false;
  bool t5_fsdp = false;
  bool offload_model = false;
  int head_chunks = 1;  ///< where the sequence is split
};

/// Everything about the model that planning needs, from headers alone, which must name every tensor of the
/// experts and the text encoder. Throws UsageError.
parallel::PlanInput describe_model(const RunInput& input, const Options& options, bool on_gpu);

/// Chooses the layout for `ranks` ranks of `memory_bytes` each, and where the weights lie as far as the user
/// leaves it open: whole on each rank if they fit, else sharded over the group, else the expert not in use in
/// host memory. Completes `plan` with the choice. Throws UsageError if nothing fits into GPU memory, saying
/// by how much and what would.
RunLayout choose_layout(const Options& options, int ranks, std::uint64_t memory_bytes,
                        parallel::PlanInput& plan);

/// Threads that one rank should compute with where OMP_NUM_THREADS does not say: the cores it is bound to, or
/// its share of the node's.
int threads_per_rank(const comm::MpiEnvironment& mpi);

/// Host memory that one rank of this node can count on.
std::uint64_t memory_per_rank_bytes(const comm::MpiEnvironment& mpi);

}  // namespace wan::apps
