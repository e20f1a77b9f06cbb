#pragma once

#include <functional>
#include <span>
#include <string>

#include "comm/mpi/environment.h"
#include "wan/error.h"

namespace wan::apps {

/// A program from its arguments to its exit code, on one rank. Throws AgreedError, alike on all ranks, for
/// what ends the program in an orderly way, and anything else for what only this rank knows of.
using Program =
    std::function<ExitCode(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments)>;

/// Whether a program that was started with these arguments needs MPI.
using NeedsMpi = std::function<bool(std::span<const std::string> arguments)>;

/// What main() returns. A non-zero exit code is returned only after all ranks have met and finalised, so that
/// no launcher kills a rank that still writes; an error that only some ranks know of ends the job at once
/// instead. `needs_mpi`: empty: always; else `program` is run as the only rank, without MPI, where it says
/// no. A console that is full or closed does not end the program. Where a launcher started several processes
/// and MPI sees one rank in each, every one ends with exit code 2.
int run_program(int argc, char** argv, const Program& program, const NeedsMpi& needs_mpi = {}) noexcept;

}  // namespace wan::apps
