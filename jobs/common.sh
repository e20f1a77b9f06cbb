# shellcheck shell=bash
# Shared by the scripts of this folder and tests/run.sh; source it, do not run it.
# Defines project (the checkout's root), say, die, print_help and mpi_environment.
# shellcheck disable=SC2034  # read by the scripts that source this
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s: %s\n' "$(basename "$0")" "$*"; }

die() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Prints the comment at the head of the script that runs, for --help.
print_help() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' "$0"; }

# Lets Open MPI start on any machine: as root (containers, CI), and with more ranks than cores.
# Sets the array mpi_options for mpirun. Other MPI libraries ignore all of it but --oversubscribe, which only Open MPI gets.
mpi_environment() {
  mpi_options=()
  local version
  version=$(mpirun --version 2>/dev/null || true)
  if [[ $version == *"Open MPI"* ]]; then
    mpi_options+=(--oversubscribe)
    # More ranks than cores: a waiting rank must give its core to one that computes.
    export OMPI_MCA_mpi_yield_when_idle=1
    # Reading another process's memory directly is forbidden in most containers, and Open MPI warns on every start.
    export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism-none}
    # mpirun wants a program that reaches other nodes, also where there are none: a container often has no ssh.
    if ! command -v ssh >/dev/null && ! command -v rsh >/dev/null; then
      export OMPI_MCA_plm_rsh_agent=${OMPI_MCA_plm_rsh_agent-/bin/sh}
    fi
    if [ "$(id -u)" -eq 0 ]; then
      export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
  fi
}

# Threads per rank so that `ranks` of them share the machine: mpi_threads RANKS
mpi_threads() {
  local threads=$(($(nproc) / $1))
  echo $((threads > 0 ? threads : 1))
}
