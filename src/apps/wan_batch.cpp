#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "apps/agreement.h"
#include "apps/batch_program.h"
#include "comm/mpi_environment.h"
#include "core/log.h"

/// Parses, calls, reports; see batch_program.h. A non-zero exit code is returned only after all ranks have
/// met and finalised, so that no launcher kills a rank that still writes; an error that only some ranks know
/// of ends the job at once instead.
int main(int argc, char** argv) {
  using namespace wan;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    const comm::MpiEnvironment mpi;
    try {
      return static_cast<int>(apps::run_batch_program(mpi, arguments));
    } catch (const apps::AgreedError& error) {
      if (mpi.rank() == 0) fmt::print(stderr, "error: {}\n", error.what());
      return static_cast<int>(error.code());
    } catch (const std::exception& error) {
      fmt::print(stderr, "error: rank {} on {}: {}\n", mpi.rank(), mpi.host_name(), error.what());
      std::fflush(stderr);
      comm::MpiEnvironment::abort(static_cast<int>(ExitCode::failure));
    }
  } catch (const std::exception& error) {
    std::fputs("error: ", stderr);
    std::fputs(error.what(), stderr);
    std::fputs("\n", stderr);
    return static_cast<int>(ExitCode::failure);
  }
}
