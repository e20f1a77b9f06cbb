#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace wan {

/// Why a file of the program cannot lie at `path`, in a folder that may be shared: something that is no
/// regular file is there (a link would lead elsewhere, a pipe would be waited for); empty: nothing is in the
/// way. `what`: "the log". Touches nothing.
std::string in_the_way_of_file(const std::filesystem::path& path, std::string_view what);

/// The same for a folder of the program.
std::string in_the_way_of_folder(const std::filesystem::path& path, std::string_view what);

}  // namespace wan
