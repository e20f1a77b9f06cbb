#pragma once

#include <vector>

#include "checkpoint/model_config.h"
#include "comm/communicator.h"
#include "engine/host_size.h"
#include "launch/options.h"
#include "lora/lora_set.h"
#include "manifest/manifest.h"
#include "manifest/resolve.h"

namespace wan::launch {

/// Whether a model is distilled to few steps without guidance, so that its defaults are others
/// (model.md 7.9).
struct DistilledModel {
  bool is_distilled = false;
  std::string rule;  ///< the option, the metadata or the name that decided; empty if nothing says so
  std::string note;  ///< a warning in one line; may be empty
};

/// A set of LoRAs that rows of a run ask for.
struct RowLoras {
  lora::LoraSet loras = {};             ///< without checksums; empty: the checkpoint's weights alone
  std::vector<std::string> notes = {};  ///< on the experts that they are for
  DistilledModel distilled = {};        ///< the model with these LoRAs
  bool is_of_rows = false;  ///< every row that asks for it names it, so that its errors are theirs
};

/// The result of reading the command line, before anything is computed. It is the same on all ranks.
struct RunInput {
  checkpoint::CheckpointFolder checkpoint;  ///< of a plan without one only the task is set
  DistilledModel distilled = {};  ///< with every set of LoRAs: then the task's defaults are those of one
  std::vector<manifest::ManifestRow> rows;   ///< of the shard, and chosen; may be none
  std::int64_t whole_rows = 0;               ///< of all shards
  std::vector<manifest::ManifestRow> whole;  ///< these rows, where `rows` is a part of them; on rank 0
  RequestOverrides overrides;                ///< the command line's, without the seed
  manifest::RunSettings settings;
  bool is_chosen = false;           ///< --continue has chosen the rows
  Draft draft = {};                 ///< the preview that the run makes of each item, if it is wanted
  std::vector<std::string> notes;   ///< on the manifest, for its author
  std::vector<RowLoras> lora_sets;  ///< at least one; ManifestRow::lora_set counts them
  std::string manifest_name;        ///< for records; empty for a single request
};

/// Reads checkpoint folder (a plan may do without) and manifest (on rank 0; the text is broadcast). `on_gpu`:
/// what the run computes on. Collective; throws AgreedError.
RunInput read_run_input(comm::Communicator& world, const Options& options, bool on_gpu);

/// Refuses what a run on the CPU cannot do: --precision bf16 and fp16, --noise-device cuda, --offload-model
/// on, and a model over 2 GB that was not asked for. Throws UsageError.
void check_cpu_run(const Options& options, const checkpoint::CheckpointFolder& checkpoint);

/// The work of a run's host with these options, as far as it is known on a machine that may lack GPUs. Models
/// that run on the CPU without being asked to are computed there.
engine::HostUse host_use(const Options& options, const checkpoint::CheckpointFolder& checkpoint);

/// The steps that the run makes of a request: all, or those before its preview.
int steps_to_make(const RunInput& input, const Request& request);

/// The request that a row resolves to.
Request resolve_row(const RunInput& input, const manifest::ManifestRow& row);

}  // namespace wan::launch
