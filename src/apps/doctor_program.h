#pragma once

#include <span>
#include <string>

#include "apps/options.h"
#include "comm/mpi/environment.h"
#include "wan/error.h"

namespace wan::apps {

/// Parses wan_doctor's arguments, as parse_options() does wan_batch's.
ParsedCommandLine parse_doctor_options(std::span<const std::string> arguments);

/// The text of wan_doctor --help.
std::string doctor_help_text();

/// Runs wan_doctor from its arguments to its exit code, on one rank of the job. It checks everything that a
/// run needs, and rank 0 prints the findings of all ranks. Collective over all ranks. Throws as
/// run_batch_program() does.
ExitCode run_doctor_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments);

}  // namespace wan::apps
