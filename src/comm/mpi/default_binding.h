#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>

#include "core/environment.h"

namespace wan::comm {

/// The CPUs that Open MPI's launcher may use on this node, if it has bound this rank by its own default: to
/// one core where two ranks or fewer are started, else to one socket or NUMA node. That is too little for a
/// rank that encodes videos in threads of its own. Nothing if another launcher started the rank, or if the
/// user or the site chose a binding or a mapping (its variables are in the environment of the rank).
/// `processes` is "/proc"; `process` is this process's folder in it, "self".
std::optional<std::set<int>> cpus_before_default_binding(const Environment& environment,
                                                         const std::filesystem::path& processes,
                                                         const std::string& process);

}  // namespace wan::comm
