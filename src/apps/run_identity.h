#pragma once

#include <string>
#include <vector>

#include "apps/options.h"
#include "batch/run_context.h"
#include "checkpoint/model_config.h"
#include "kernels/compute.h"
#include "launch/engine_host.h"
#include "launch/run_device.h"
#include "launch/run_input.h"
#include "store/sidecar.h"

namespace wan::apps {

/// The values that a record holds and that a later run is compared with. `weights`: the checkpoint's
/// fingerprint.
store::ModelIdentity model_identity(const std::string& weights, const launch::RunDevice& device);

/// How the run's rows become requests, and what decides their results beside them. After host.load().
batch::RequestSource request_source(const launch::RunInput& input, const launch::EngineHost& host,
                                    const launch::RunDevice& device);

/// The record's name of the attention: "cudnn", or "flashinfer (automatic)" if that is the choice for the
/// many tokens of a video.
std::string attention_name(const launch::Options& options, const kernels::Compute& compute,
                           const checkpoint::TransformerConfig& transformer);

/// Throws UsageError if somebody else's file lies under the name of the run's record or of a single request's
/// files. (A manifest's row fails by itself.) Changes nothing. For one rank.
void require_free_names(const launch::Options& options, const launch::RunInput& input);

/// Describes somebody else's file under one of the names of a row's files, with the remedy; empty if there is
/// none.
std::string obstacle_to(const launch::Options& options, const manifest::ManifestRow& row);

}  // namespace wan::apps
