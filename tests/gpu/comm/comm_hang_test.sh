#!/usr/bin/env bash
# Judges comm_hang_program: one rank stays away from a collective; a watchdog has to end the job in time and name that rank.
#
#   comm_hang_test.sh RANKS first|later MPIEXEC... PROGRAM
#
# Exit code 77: skipped, there are fewer GPUs than ranks.
set -uo pipefail
ranks=$1 when=$2
shift 2
last=$((ranks - 1))
output=$(mktemp)
trap 'rm -f "$output"' EXIT

start=$SECONDS
"$@" "$when" >"$output" 2>&1
code=$?
cat "$output"
if grep -q '^skipped:' "$output"; then exit 77; fi

failures=0
expect() {
  grep -Eq -- "$1" "$output" && return
  echo "comm_hang_test: the output lacks: $1"
  failures=1
}
if ((code == 0)); then echo "comm_hang_test: mpirun returned 0"; failures=1; fi
if ((SECONDS - start > 50)); then echo "comm_hang_test: took $((SECONDS - start)) s: the job was not ended"; failures=1; fi
if [[ $when == first ]]; then number=0 before=none; else number=5 before="all_to_all number 4"; fi
# 3 s and at most 5 more.
expect "all_to_all number $number \([0-9]+ bytes\) timed out after [3-7]\.[0-9] s \(limit 3 s\) on rank [0-9]+ of $ranks in group 'ulysses'"
expect "rank $last \(world rank $last\) lags: it last started $before"
exit $failures
