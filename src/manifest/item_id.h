#pragma once

#include <string>
#include <string_view>

namespace wan::manifest {

inline constexpr std::size_t max_id_bytes = 200;

/// Throws ValueError unless `id` is safe as the stem of file names inside the output folder: 1 to 200 bytes
/// of letters and digits of any script, blanks inside and . _ - + = , @ ( ) [ ], not starting with '.' or
/// '-', not ending with ".failed" (that is another item's failure record), not the name of a file of the run
/// itself.
void check_id(std::string_view id);

/// `hint` turned into a safe id stem, and the first 8 hex digits of the SHA-256 of `values`: the same row
/// gets the same id wherever it stands. `hint` is an image's stem or a prompt; any text will do.
std::string automatic_id(std::string_view hint, std::string_view values);

}  // namespace wan::manifest
