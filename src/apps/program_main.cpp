#include "apps/program_main.h"

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <vector>

#include "apps/job_observer.h"
#include "comm/communication_error.h"
#include "comm/mpi/launch.h"
#include "core/console.h"
#include "launch/agreement.h"
#include "launch/option_names.h"

namespace wan::apps {
namespace {

int run_on_rank(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
                const Program& program) {
  try {
    return static_cast<int>(program(mpi, arguments));
  } catch (const launch::AgreedError& error) {
    if (mpi.rank() == 0) write_console(stderr, fmt::format("error: {}\n", error.what()));
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    if (dynamic_cast<const comm::CommunicationError*>(&error) == nullptr) note_error(error.what());
    write_console(stderr,
                  fmt::format("error: rank {} on {}: {}\n", mpi.rank(), mpi.host_name(), error.what()));
    comm::MpiEnvironment::abort(static_cast<int>(ExitCode::failure));
  }
}

}  // namespace

int run_program(int argc, char** argv, const Program& program, const NeedsMpi& needs_mpi) noexcept {
  try {
    outlive_console();
    const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    const bool with_mpi = !needs_mpi || needs_mpi(arguments);
    const auto mpi = launch::hinting_at(
        "without MPI work --help, --version, --plan, --dry-run, --list-rows, `wan_batch status` and "
        "wan_doctor",
        [&] { return comm::MpiEnvironment(with_mpi ? comm::MpiUse::full : comm::MpiUse::none); });
    const comm::Launch launch = comm::read_launch();
    const std::string problem = with_mpi ? comm::describe_lonely_rank(launch, mpi.size()) : std::string();
    if (with_mpi && mpi.rank() == 0) note_mpi_is_up();
    if (problem.empty()) return run_on_rank(mpi, arguments, program);
    if (launch.rank == 0) write_console(stderr, "error: " + problem + "\n");
    return static_cast<int>(ExitCode::usage);
  } catch (const UsageError& error) {
    if (comm::read_launch().rank == 0)
      write_console(stderr, fmt::format("error: {}\n", launch::with_option(error)));
    return static_cast<int>(ExitCode::usage);
  } catch (const std::exception& error) {
    std::fputs("error: ", stderr);
    std::fputs(error.what(), stderr);
    std::fputs("\n", stderr);
    return static_cast<int>(ExitCode::failure);
  }
}

}  // namespace wan::apps
