#pragma once

#include <string>

#include "apps/options.h"
#include "checkpoint/model_config.h"
#include "kernels/compute.h"
#include "launch/run_input.h"
#include "store/sidecar.h"

namespace wan::apps {

/// What a record names and a later run is compared with. `weights`: the checkpoint's fingerprint.
store::ModelIdentity model_identity(const std::string& weights, const kernels::Compute& compute);

/// For the record: "cudnn", or "flashinfer (automatic)", where the choice is that for a video's many tokens.
std::string attention_name(const launch::Options& options, const kernels::Compute& compute,
                           const checkpoint::TransformerConfig& transformer);

/// Throws UsageError if somebody else's file lies where the run's record or a single request's files go; a
/// manifest's row fails alone. Touches nothing. For one rank.
void require_free_names(const launch::Options& options, const launch::RunInput& input);

/// What of somebody else's lies where a row's files would go, and what to do; empty if nothing does.
std::string obstacle_to(const launch::Options& options, const manifest::ManifestRow& row);

}  // namespace wan::apps
