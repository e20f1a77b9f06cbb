#include "apps/needs_mpi.h"

#include "apps/bench_options.h"
#include "apps/options.h"
#include "comm/mpi/launch.h"
#include "wan/error.h"

namespace wan::apps {
namespace {

template <typename Parse>
bool computes(Parse&& parse, std::span<const std::string> arguments) {
  try {
    const ParsedCommandLine parsed = parse(arguments);
    const launch::Options& options = parsed.options;
    return parsed.action == Action::run && !options.plan && !options.dry_run && !options.list_rows;
  } catch (const Error&) {
    return false;  // the program itself will report the problem
  }
}

}  // namespace

bool batch_needs_mpi(std::span<const std::string> arguments) {
  return comm::read_launch().is_one_of_several() || computes(parse_options, arguments);
}

bool bench_needs_mpi(std::span<const std::string> arguments) {
  return comm::read_launch().is_one_of_several() || computes(parse_bench_options, arguments);
}

bool doctor_needs_mpi(std::span<const std::string> /*arguments*/) {
  return comm::read_launch().is_one_of_several();
}

}  // namespace wan::apps
