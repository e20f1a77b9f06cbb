#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "apps/batch_program.h"
#include "apps/needs_mpi.h"
#include "apps/places_command.h"
#include "apps/program_main.h"
#include "apps/status_command.h"
#include "core/stop_signals.h"

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
    if (wan::apps::is_status_command(words)) return wan::apps::run_status_command(words);
    if (wan::apps::is_places_command(words)) return wan::apps::run_places_command(words);
    wan::StopSignals stop_signals;
    return wan::apps::run_program(
        argc, argv,
        [&](const wan::comm::MpiEnvironment& mpi, std::span<const std::string> arguments) {
          return wan::apps::run_batch_program(mpi, arguments, stop_signals);
        },
        wan::apps::batch_needs_mpi);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(wan::ExitCode::failure);
  }
}
