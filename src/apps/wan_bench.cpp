#include "apps/bench_program.h"
#include "apps/needs_mpi.h"
#include "apps/program_main.h"

int main(int argc, char** argv) {
  return wan::apps::run_program(argc, argv, wan::apps::run_bench_program, wan::apps::bench_needs_mpi);
}
