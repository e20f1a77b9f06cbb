#pragma once

#include <functional>
#include <span>
#include <string>

#include "comm/mpi/environment.h"
#include "wan/error.h"

namespace wan::apps {

/// A program from its arguments to its exit code, on one rank. Throws AgreedError, alike on all ranks, if the
/// program ends in an orderly way, and any other exception if only this rank knows of the problem.
using Program =
    std::function<ExitCode(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments)>;

/// Whether a program that was started with these arguments needs MPI.
using NeedsMpi = std::function<bool(std::span<const std::string> arguments)>;

/// Returns the exit code for main(). A non-zero exit code is returned only after all ranks have met and
/// finalised, so that no launcher kills a rank that still writes. An error that only some ranks know of ends
/// the job at once instead. `needs_mpi` may be empty: the program then always needs MPI. If it returns false,
/// `program` runs as the only rank, without MPI. A console that is full or closed does not end the program.
/// If a launcher started several processes and MPI sees one rank in each, every process ends with exit code
/// 2.
int run_program(int argc, char** argv, const Program& program, const NeedsMpi& needs_mpi = {}) noexcept;

}  // namespace wan::apps
