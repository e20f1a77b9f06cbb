// Writes FILE with one item and STEPS steps of two ranks, then kills itself before it can close anything.
#include <csignal>
#include <cstdlib>

#include "support/trace_sample.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  wan::trace::TraceWriter writer(argv[1], {{"version", std::string("0.1.0")}, {"gpus", std::int64_t{2}}});
  writer.add_phase({.phase = "load", .start_s = 0.0, .wall_s = 3.5, .sent_bytes = 0});
  writer.begin_item(wan::test::sample_item("größe-1"));
  for (int step = 0; step < std::atoi(argv[2]); ++step) writer.add_steps(wan::test::sample_steps(step));
  return std::raise(SIGKILL);
}
