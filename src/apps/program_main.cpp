#include "apps/program_main.h"

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <vector>

#include "apps/agreement.h"

namespace wan::apps {
namespace {

int run_on_rank(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
                const Program& program) {
  try {
    return static_cast<int>(program(mpi, arguments));
  } catch (const AgreedError& error) {
    if (mpi.rank() == 0) fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: rank {} on {}: {}\n", mpi.rank(), mpi.host_name(), error.what());
    std::fflush(stderr);
    comm::MpiEnvironment::abort(static_cast<int>(ExitCode::failure));
  }
}

}  // namespace

int run_program(int argc, char** argv, const Program& program) noexcept {
  try {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const comm::MpiEnvironment mpi;
    return run_on_rank(mpi, arguments, program);
  } catch (const std::exception& error) {
    std::fputs("error: ", stderr);
    std::fputs(error.what(), stderr);
    std::fputs("\n", stderr);
    return static_cast<int>(ExitCode::failure);
  }
}

}  // namespace wan::apps
