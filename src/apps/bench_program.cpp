#include "apps/bench_program.h"

#include "apps/bench_measurement.h"
#include "apps/bench_options.h"
#include "apps/bench_products.h"
#include "apps/version_report.h"
#include "comm/mpi/mpi.h"
#include "core/console.h"
#include "launch/agreement.h"
#include "launch/engine_host.h"

namespace wan::apps {

ExitCode run_bench_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments) {
  ParsedCommandLine parsed;
  const auto world = comm::make_mpi_world(mpi, {.timeout_s = launch::start_timeout_s});
  launch::agree(*world, [&] { parsed = parse_bench_options(arguments); });
  const bool is_rank_0 = mpi.rank() == 0;
  if (parsed.action != Action::run) {
    if (is_rank_0) print_result(parsed.action == Action::help ? bench_help_text() : version_report());
    return ExitCode::done;
  }
  const launch::BenchSettings& bench = parsed.options.bench;
  if (bench.measure_products) {
    const std::string report = measure_products(*world, mpi, parsed.options);
    if (is_rank_0) print_result(report);
    return ExitCode::done;
  }
  BenchResult result = measure_bench(mpi, parsed.options, arguments);
  result.arguments.assign(arguments.begin(), arguments.end());
  if (is_rank_0) print_result(bench_table(bench, result) + bench_json(bench, result) + "\n");
  return ExitCode::done;
}

}  // namespace wan::apps
