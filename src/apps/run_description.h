#pragma once

#include <string>
#include <vector>

#include "apps/options.h"
#include "apps/run_input.h"
#include "apps/run_layout.h"
#include "kernels/compute.h"

namespace wan::apps {

/// The words before an item's own options, of a command that makes it again: all that decides the bytes
/// beside the request and the GPU itself. One item needs one group only.
std::vector<std::string> command_again(const Options& options, const RunLayout& layout,
                                       const kernels::Compute& compute);

/// The run in one line: task, items, ranks, layout, device.
std::string headline(const Options& options, const RunInput& input, const RunLayout& layout, int ranks,
                     const std::string& device);

}  // namespace wan::apps
