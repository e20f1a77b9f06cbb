#include "apps/doctor_program.h"
#include "apps/needs_mpi.h"
#include "apps/program_main.h"

int main(int argc, char** argv) {
  return wan::apps::run_program(argc, argv, wan::apps::run_doctor_program, wan::apps::doctor_needs_mpi);
}
