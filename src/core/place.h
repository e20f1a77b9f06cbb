#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace wan {

/// Why the program cannot put a file at `path`, in a folder that others may use too. Only a regular file may
/// be there: a link would lead elsewhere, and a pipe would be waited for. Empty if nothing is in the way.
/// `what` names the file in the message, for example "the log". Changes nothing.
std::string in_the_way_of_file(const std::filesystem::path& path, std::string_view what);

/// The same for a folder of the program.
std::string in_the_way_of_folder(const std::filesystem::path& path, std::string_view what);

}  // namespace wan
