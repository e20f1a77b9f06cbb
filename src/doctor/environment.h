#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/finding.h"

namespace wan::doctor {

/// Environment variables by name.
using Environment = std::map<std::string, std::string, std::less<>>;

Environment read_environment();

/// The value of a variable; empty if it is not set.
std::string value_of(const Environment& environment, std::string_view name);

/// A variable that holds a whole number of 0 or more; nothing if it is not set or anything else.
std::optional<std::int64_t> number_of(const Environment& environment, std::string_view name);

/// Variables of NCCL, CUDA, the tensor library and MPI that are known to slow a run down or to break it.
std::vector<Finding> check_environment(const Environment& environment);

}  // namespace wan::doctor
