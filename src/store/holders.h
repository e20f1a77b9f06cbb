#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

namespace wan::store {

// Who is at work in an output folder, for a look from outside: no claim is made. An owner counts as alive
// while its file is there, its process, if it is of this machine, has not ended, and its last heartbeat is
// younger than twice `stale_after` (10 s at least) by this host's clock: a file's time may come late over a
// network.

/// Whether a run has a living owner.
bool is_run_alive(const std::filesystem::path& claims, const std::string& run,
                  std::chrono::milliseconds stale_after);

/// The living owner that holds an item: "node7, process 123, job 4711". Nothing if there is none.
std::optional<std::string> find_holder(const std::filesystem::path& claims, const std::string& id,
                                       std::chrono::milliseconds stale_after);

}  // namespace wan::store
