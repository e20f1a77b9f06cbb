#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "apps/options.h"
#include "checkpoint/model_config.h"
#include "core/log.h"
#include "engine/host_size.h"
#include "launch/run_input.h"
#include "store/output_probe.h"

namespace wan::apps {

/// Checks every row, its image and the files under its names, and that the tokenizer can be read and suits
/// the text encoder. Logs the problems, and prints the totals with `layout`. `beyond_gpus`: from
/// rows_beyond_gpus(). `use`: a run's use of the host. Returns the number of items that would fail. On rank
/// 0.
std::int64_t check_rows(const launch::Options& options, const launch::RunInput& input,
                        const checkpoint::TextEncoderConfig& encoder, const std::string& layout,
                        const std::set<std::size_t>& beyond_gpus, const engine::HostUse& use, Log& log);

/// Warns of features that the output folder's file system lacks, and if the space may not suffice. Throws
/// UsageError if there is less space than the largest item takes. That is estimated: 16 bytes of state for
/// every latent value, a tenth of a byte of video for every pixel.
void check_space_and_lacks(const store::OutputProbe& probe, const launch::RunInput& input,
                           const launch::Options& options, const engine::HostUse& use, Log& log);

}  // namespace wan::apps
