#include "apps/bench_options.h"

#include "apps/option_parser.h"
#include "core/check.h"

namespace wan::apps {

ParsedCommandLine parse_bench_options(std::span<const std::string> arguments) {
  ParsedCommandLine parsed = parse_plain_options(bench_option_table(), arguments);
  if (parsed.action != Action::run) return parsed;
  const launch::BenchSettings& bench = parsed.options.bench;
  if (bench.measure_products && (bench.kernels || bench.trace_cost || parsed.options.trace)) {
    fail<UsageError>("--measure-products times products and makes no steps: leave {} out",
                     bench.kernels      ? "--kernels"
                     : bench.trace_cost ? "--trace-cost"
                                        : "--trace");
  }
  if (!bench.trace_cost) return parsed;
  if (!parsed.options.trace)
    fail<UsageError>("--trace-cost measures the trace, and none is written: give --trace FILE");
  if (parsed.options.bench.steps < 2)
    fail<UsageError>("--trace-cost compares traced steps with others: give --steps 2 or more");
  return parsed;
}

std::string bench_help_text() {
  const std::vector<OptionEntry> table = bench_option_table();
  return "Times the parts of a request on a model of random weights: text encoder, VAE, denoising steps.\n\n"
         "  wan_bench [options]\n"
         "  mpirun -np N wan_bench [options]     all ranks on one video\n\n" +
         OptionParser(table, not_built_table(), {}).help() +
         "Prints a table and, as the last line on stdout, one JSON object.\n";
}

}  // namespace wan::apps
