#pragma once

#include <span>
#include <string>

namespace wan::apps {

// Whether a program with these arguments needs MPI. A program that computes needs it. --help, --version,
// --plan, --dry-run, --list-rows, wan_doctor and arguments that cannot be understood need it only if a
// launcher started several ranks, which then print once. So a login node, or a step without PMIx, needs no
// working MPI for them. These functions throw nothing.
bool batch_needs_mpi(std::span<const std::string> arguments);
bool bench_needs_mpi(std::span<const std::string> arguments);
bool doctor_needs_mpi(std::span<const std::string> arguments);

}  // namespace wan::apps
