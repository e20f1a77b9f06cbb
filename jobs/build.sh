#!/usr/bin/env bash
# Builds everything into build/ (programs in build/bin/), after jobs/setup.sh. Arguments go to the build:
#
#   jobs/build.sh [--target NAME ...] [-j N]
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$project/jobs/setup.sh"
# ccache needs a writable folder. Service accounts and some batch jobs have none at home.
if [ -z "${CCACHE_DIR:-}" ] && { [ -z "${HOME:-}" ] || [ ! -w "${HOME:-}" ]; }; then
  export CCACHE_DIR=$project/.deps/ccache
fi

cmake=$project/.venv/bin/cmake
cd "$project"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "$cmake" --preset default >"$log" 2>&1; then
  cat "$log" >&2
  die "configuring failed (the output is above)"
fi
say "configured: $project/build"
"$cmake" --build --preset default "$@" || die "the build failed (the output is above)"
say "built: $project/build/bin"
