#!/usr/bin/env bash
# The nightly benchmark. It runs wan_bench and the demo's manifest on this machine's GPUs and compares the results with the references of
# the GPU model. It appends them to a history and draws the trend. On a regression it exits non-zero and names the part of a step that grew.
#
#   jobs/nightly.sh [--history FOLDER] [--references FILE] [--update] [--manifest-command COMMAND] [-- BENCH COMMAND...]
#
#   --history FOLDER    folder of history.jsonl and trend.html (default: nightly/ in the checkout)
#   --references FILE   bounds (default: analysis/references/MODEL.json for the GPU model that the benchmark reports)
#   --update            write the result as the new references instead of judging it
#   --manifest-command COMMAND   a whole run to be timed, instead of wan_batch on inputs/toy
#   -- COMMAND...       instead of: mpirun -np GPUS build/bin/wan_bench --size 832*480 --steps 5 --warmup 1; the demo is then left out
#
# Exit codes: 0 all within bounds, 3 a regression, 1 the benchmark did not run or there are no references.
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
arguments=() command=() scratch=""
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
while (($#)); do
  if [ "$1" = -- ]; then
    shift
    command=("$@")
    break
  fi
  arguments+=("$1")
  shift
done
if [ ${#command[@]} -eq 0 ]; then
  gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)
  ((gpus > 0)) || die "nvidia-smi lists no GPU here; give a command after --"
  mpi_environment
  command=(mpirun "${mpi_options[@]}" -np "$gpus" "$project/build/bin/wan_bench" --size '832*480' --steps 5 --warmup 1)
  # The toy model has four heads. The user's own --manifest-command comes later in the arguments, and the last one counts.
  ranks=$((gpus < 4 ? gpus : 4))
  scratch=$(mktemp -d)
  demo=(mpirun "${mpi_options[@]}" -np "$ranks" "$project/build/bin/wan_batch" --ckpt-dir "$project/inputs/toy/checkpoint"
    --size '128*64' --frame-num 9 --sample-steps 6 --base-seed 1 --output-dir "$scratch" "$project/inputs/toy/manifest.csv")
  arguments=(--manifest-command "$(printf '%q ' "${demo[@]}")" "${arguments[@]}")
fi
"$project/jobs/analysis.sh" nightly --project "$project" "${arguments[@]}" -- "${command[@]}"
