#pragma once

#include <filesystem>
#include <string>

namespace wan::trace {

/// Adds a group's trace file to the index. The index is an HDF5 file (OUT/trace.h5) with one external link
/// for each trace file (OUT/trace/<run>-gNN.h5). A link's name is the file's stem. Its path is relative to
/// the index, so the folder can be moved.
///
/// The function writes a new index beside the old one and renames it, so a reader finds the old or the new
/// one. Jobs that share the folder wait for each other by a lock on "<index>.lock", which stays. If the file
/// system has no locks, the index is written without one, and checked again until the link stays in it.
///
/// An index with damaged bytes is made anew of the links that are whole. HDF5 is not trusted with it.
///
/// Adding a link twice changes nothing. `group_file` need not exist yet. Returns why no lock could be taken;
/// empty if one was taken. Throws Error if something is in the way, the index is another kind of file (it is
/// not changed), cannot be written, or stays locked for 60 s.
std::string add_to_index(const std::filesystem::path& index, const std::filesystem::path& group_file);

/// Why the index, its lock or the folder of its traces cannot be at its path: something else is there, for
/// example a link or a pipe. Empty if nothing is in the way. Changes nothing.
std::string in_the_way_of_trace(const std::filesystem::path& index);

}  // namespace wan::trace
