#pragma once

#include <string>
#include <string_view>

namespace wan::gpu {

// `built` lists the targets that kernels were compiled for. CMake's list has the same form, but with
// semicolons: "80-real,90a-real,90-virtual". "-real" is machine code. "-virtual" is PTX, which the driver
// compiles for newer GPUs. A number alone means both. A number that ends in "a" is for that one architecture,
// in "f" for its family.

/// Whether a GPU of this compute capability can run some of the code. Machine code runs on later GPUs of the
/// same generation (8.0's on 8.6). PTX runs on all later ones. Code of "90a" runs on 9.0 only.
bool has_code_for(std::string_view built, int major, int minor);

/// Text for the user: "8.0, 8.6, 8.9, 9.0a and PTX of 9.0".
std::string describe_architectures(std::string_view built);

}  // namespace wan::gpu
