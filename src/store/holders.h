#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

namespace wan::store {

// These functions tell who is at work in an output folder. They make no claim. An owner counts as alive if
// its file is there, its process has not ended (on this machine), and its last heartbeat is younger than
// twice `stale_after`, but at least 10 s, by this host's clock: over a network the time of a file may arrive
// late.

/// Whether a run has a living owner.
bool is_run_alive(const std::filesystem::path& claims, const std::string& run,
                  std::chrono::milliseconds stale_after);

/// The living owner that holds an item: "node7, process 123, job 4711". Nothing if there is none.
std::optional<std::string> find_holder(const std::filesystem::path& claims, const std::string& id,
                                       std::chrono::milliseconds stale_after);

}  // namespace wan::store
