#include <string>
#include <vector>

#include "apps/batch_program.h"
#include "apps/program_main.h"
#include "apps/status_command.h"

int main(int argc, char** argv) {
  // Before MPI: a login node need not have any.
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (wan::apps::is_status_command(arguments)) return wan::apps::run_status_command(arguments);
  return wan::apps::run_program(argc, argv, wan::apps::run_batch_program);
}
