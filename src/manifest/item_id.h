#pragma once

#include <string>
#include <string_view>

namespace wan::manifest {

inline constexpr std::size_t max_id_bytes = 200;

/// Throws ValueError unless `id` is safe as the stem of file names inside the output folder. A safe id has 1
/// to 200 bytes: letters and digits of any script, blanks inside, and . _ - + = , @ ( ) [ ]. It does not
/// start with '.' or '-', does not end with ".failed" (that is another item's failure record), and is not the
/// name of a file of the run itself.
void check_id(std::string_view id);

/// Makes an id from `hint`, turned into a safe stem, and the first 8 hex digits of the SHA-256 of `values`.
/// The same row gets the same id at any place of the manifest. `hint` is any text, such as an image's stem or
/// a prompt.
std::string automatic_id(std::string_view hint, std::string_view values);

}  // namespace wan::manifest
