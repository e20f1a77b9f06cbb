#!/usr/bin/env bash
# The nightly benchmark. It runs wan_bench on this machine's GPUs, and the manifest of inputs/toy on up to four of them. It adds the night to
# a history, and looks for changes of every metric over the whole history. It says since when, by how much, in which part of a step, and
# what changed with it. A night that is far off is run again at once.
#
#   jobs/nightly.sh [--history FOLDER] [--json FILE] [--junit FILE] [--new-key] [--references FILE] [--update]
#                   [--manifest-command COMMAND] [-- BENCH COMMAND...]
#   jobs/nightly.sh [--history FOLDER] --accept NIGHT "why" [--key TEXT]
#
#   --history FOLDER    folder of history.jsonl, accepted.jsonl, verdict.json, junit.xml and trend.html (default: nightly/ in the checkout)
#   --json, --junit     write verdict and JUnit file there too
#   --new-key           the history already holds another benchmark (GPUs, model, size, layout, options), and this one is to be added
#   --references FILE   bounds for the first ten nights (default: analysis/references/MODEL.json for the GPU model that is reported)
#   --update            store the result as these bounds
#   --manifest-command COMMAND   a whole run to be timed, instead of wan_batch on inputs/toy
#   --accept NIGHT "why"   measure nothing; the change at this night (number or date) is accepted, and fails no more
#   --key TEXT          with --accept: a part of the benchmark's name, if the history holds several
#   -- COMMAND...       instead of: mpirun -np GPUS build/bin/wan_bench --size 832*480 --steps 5 --warmup 1; inputs/toy is then left out
#
# Exit codes: 0 nothing became worse, 3 something did and nobody accepted it, 1 the benchmark did not run or its result cannot be true.
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
arguments=() command=() scratch="" measures=yes
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
while (($#)); do
  if [ "$1" = -- ]; then
    shift
    command=("$@")
    break
  fi
  if [[ $1 == --help || $1 == -h ]]; then
    print_help
    exit 0
  fi
  [[ $1 != --accept ]] || measures=no
  arguments+=("$1")
  shift
done
if [ "$measures" = no ]; then
  "$project/jobs/analysis.sh" nightly --project "$project" "${arguments[@]}"
  exit
fi
if [ ${#command[@]} -eq 0 ]; then
  gpus=$( (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l)
  ((gpus > 0)) || die "nvidia-smi lists no GPU here; give a command after --"
  mpi_environment
  command=(mpirun "${mpi_options[@]}" -np "$gpus" "$project/build/bin/wan_bench" --size '832*480' --steps 5 --warmup 1)
  # The toy model has four heads. The user's own --manifest-command comes later in the arguments, and the last one counts.
  ranks=$((gpus < 4 ? gpus : 4))
  scratch=$(mktemp -d)
  # A night that is run again begins with an empty folder too.
  # shellcheck disable=SC2016  # the inner shell reads its arguments
  demo=(sh -c 'rm -rf "$1" && shift && exec "$@"' sh "$scratch/out"
    mpirun "${mpi_options[@]}" -np "$ranks" "$project/build/bin/wan_batch" --ckpt-dir "$project/inputs/toy/checkpoint"
    --size '128*64' --frame-num 9 --sample-steps 6 --base-seed 1 --output-dir "$scratch/out" "$project/inputs/toy/manifest.csv")
  arguments=(--manifest-command "$(printf '%q ' "${demo[@]}")" "${arguments[@]}")
fi
"$project/jobs/analysis.sh" nightly --project "$project" "${arguments[@]}" -- "${command[@]}"
