#pragma once

#include <filesystem>
#include <string>

namespace wan::trace {

/// Adds a group's trace file to the index: an HDF5 file (OUT/trace.h5) of external links, one per trace file
/// (OUT/trace/<run>-gNN.h5), named by its stem and relative to the index, so that the folder can be moved.
/// The index is made anew beside the old one and renamed into place: a reader finds the old or the new. Jobs
/// that share the folder wait for each other by a lock on "<index>.lock", which stays. Where the file system
/// has no locks, the index is made without, and looked at again until the link has stayed in it. Adding a
/// link twice changes nothing. `group_file` need not exist yet. Returns why no lock could be taken; empty:
/// one was. Throws Error when something is in the way, the index is not one (it is then left alone), cannot
/// be written, or stays locked for 60 s.
std::string add_to_index(const std::filesystem::path& index, const std::filesystem::path& group_file);

/// What lies where the index, its lock or the folder of its traces is to be and is no file or no folder, as a
/// link or a pipe; empty: nothing does. Touches nothing.
std::string in_the_way_of_trace(const std::filesystem::path& index);

}  // namespace wan::trace
