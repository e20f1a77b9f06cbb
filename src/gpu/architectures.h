#pragma once

#include <string>
#include <string_view>

namespace wan::gpu {

// `built` is what kernels were compiled for, as CMake has it, but with commas: "80-real,90a-real,90-virtual".
// "-real" is machine code, "-virtual" is PTX, which the driver compiles for newer GPUs, and a number alone is
// both. A number that ends in "a" is for that one architecture, in "f" for its family.

/// Whether a GPU of this compute capability finds code that it can run. Machine code runs on later GPUs of
/// the same generation (8.0's on 8.6), PTX on all later ones; that of "90a" on 9.0 alone.
bool has_code_for(std::string_view built, int major, int minor);

/// For people: "8.0, 8.6, 8.9, 9.0a and PTX of 9.0".
std::string describe_architectures(std::string_view built);

}  // namespace wan::gpu
