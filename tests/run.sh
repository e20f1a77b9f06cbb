#!/usr/bin/env bash
# Sets up, builds and runs every test that needs neither a GPU nor a night. Arguments go to ctest and narrow the choice:
#
#   tests/run.sh [-R REGEX] [-L LABEL] ...
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../jobs/common.sh"

if [[ ${1-} == --help || ${1-} == -h ]]; then
  print_help
  exit 0
fi
"$project/jobs/setup.sh" --with prompts  # for the tests of jobs/extend_prompts.py
"$project/jobs/build.sh" --preset developer
mpi_environment
exec "$project/.venv/bin/ctest" --test-dir "$project/build" --output-on-failure --no-tests=error -LE "nightly|gpu" -j "$(nproc)" "$@"
