#pragma once

#include <span>
#include <string>

namespace wan::apps {

// Whether a program with these arguments needs MPI. What computes does. What only looks (--help, --version,
// --plan, --dry-run, wan_doctor) or cannot be understood does so only where a launcher started several ranks,
// which then speak with one voice: a login node or a step without PMIx need not have an MPI that works. Never
// throw.
bool batch_needs_mpi(std::span<const std::string> arguments);
bool bench_needs_mpi(std::span<const std::string> arguments);
bool doctor_needs_mpi(std::span<const std::string> arguments);

}  // namespace wan::apps
