#pragma once

#include <string>
#include <vector>

#include "apps/options.h"
#include "kernels/compute.h"
#include "launch/run_input.h"
#include "launch/run_layout.h"

namespace wan::apps {

/// The words of a command that makes an item again, before the item's LoRAs and own options. They hold
/// everything that decides the bytes, apart from the request and the GPU itself. The command needs one group
/// only.
std::vector<std::string> command_again(const launch::Options& options, const launch::RunLayout& layout,
                                       const kernels::Compute& compute);

/// The options that give a request its values, for the command that makes one item again.
std::vector<std::string> request_options(const Request& request);

/// The run in one line: task, items, ranks, layout, device.
std::string headline(const launch::Options& options, const launch::RunInput& input,
                     const launch::RunLayout& layout, int ranks, const std::string& device);

/// The headline, and how weights that wait on the host come to the GPU.
std::string description(const launch::Options& options, const launch::RunInput& input,
                        const launch::RunLayout& layout, int ranks, const std::string& device);

}  // namespace wan::apps
