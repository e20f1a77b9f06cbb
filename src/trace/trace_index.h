#pragma once

#include <filesystem>

namespace wan::trace {

/// Adds a group's trace file to the index: an HDF5 file (OUT/trace.h5) of external links, one per trace file
/// (OUT/trace/<run>-gNN.h5), named by its stem and relative to the index, so that the folder can be moved.
/// The index is made anew beside the old one and renamed into place: a reader finds the old or the new. Jobs
/// that share the folder wait for each other by a lock on "<index>.lock", which stays. Adding a link twice
/// changes nothing. `group_file` need not exist yet. Throws Error when the index is not one (it is then left
/// alone), cannot be written, or stays locked for 60 s.
void add_to_index(const std::filesystem::path& index, const std::filesystem::path& group_file);

}  // namespace wan::trace
