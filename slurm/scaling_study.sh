#!/usr/bin/env bash
#SBATCH --job-name=wan_scaling
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --no-requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#
# A scaling study: the same work on 1, 2, 4 and 8 GPUs one after the other, then one page with the figures (jobs/analysis.sh report).
#
#   sbatch slurm/scaling_study.sh                                       # wan_bench: the 14B model with random weights, 832*480
#   sbatch slurm/scaling_study.sh --size 1280*720 --steps 5             # options of wan_bench
#   WAN_STUDY=wan_batch sbatch slurm/scaling_study.sh --ckpt-dir CKPT manifest.csv    # options of wan_batch: whole videos
#   sbatch --nodes=2 --exclusive slurm/scaling_study.sh                 # 1, 2, 4, 8 and 16
#
#   WAN_STUDY      the program to run: wan_bench or wan_batch (default: wan_bench)
#   WAN_COUNTS     numbers of GPUs, separated by blanks (default: 1, 2, 4 ... up to the job's tasks)
#   WAN_STUDY_DIR  folder of the traces, report.html and report.json (default: scaling_JOBID where sbatch was started)
#   WAN_BENCH      the program wan_bench (default: as for WAN_BATCH)
#
# A count that fails is left out of the report and makes the job's exit code 1. A study is not requeued, because a run in two pieces
# measures neither. The top of common.sh describes the other settings (WAN_LAUNCHER, WAN_MODULES, ...).
set -euo pipefail
# Slurm runs a copy of this file from its spool folder; the job's record has the path of the submitted file. While Slurm's controller is
# down, the script asks for the record again. Both the path and the arguments after it may contain blanks and "/slurm/".
script=scaling_study.sh project=${WAN_PROJECT:-$(dirname "$0")/..} record=""
if [ ! -r "$project/slurm/common.sh" ] && [ -z "${WAN_PROJECT-}" ]; then
  for pause in 1 2 4 8 15 30 30 30 30 30 30 30 30 30 0; do
    if [ -z "${SLURM_JOB_ID-}" ] || ! command -v scontrol >/dev/null; then break; fi
    record=$(scontrol show job "$SLURM_JOB_ID" 2>/dev/null | sed -nE '/^ *Command=/ { s///p; q; }') || record=""
    [ -z "$record" ] || break
    sleep "$pause"
  done
  project=""
  while [[ $record == */slurm/* ]] && [ ! -r "$project/slurm/common.sh" ]; do
    project+=${project:+/slurm/}${record%%/slurm/*} record=${record#*/slurm/}
  done
  [ -r "$project/slurm/common.sh" ] || project=${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}
fi
[ -r "$project/slurm/common.sh" ] || {
  echo "slurm/$script: error: $project is no checkout of wan_batch; submit from one, or set WAN_PROJECT" >&2
  exit 2
}
# shellcheck source=slurm/common.sh
. "$project/slurm/common.sh"

# Prints 1, 2, 4 ... up to $1, and $1 itself.
powers_up_to() {
  local count
  for ((count = 1; count < $1; count *= 2)); do printf '%d ' "$count"; done
  printf '%d' "$1"
}

fail() {
  say "$*"
  exit 1
}

# run_count N: runs the program on N ranks. Its trace goes to $folder/gpus_N.
run_count() {
  local count=$1 output=$folder/gpus_$1 launch
  shift
  launch_words "$count" "$((count < ranks_per_node ? count : ranks_per_node))"
  mkdir -p "$output"
  if [ "$study" = wan_bench ]; then
    run_ranks "${launch[@]}" "$program" "$@" --trace "$output/trace.h5"
  else
    run_ranks "${launch[@]}" "$program" --no-resume "$@" --output-dir "$output"
  fi
}

prepare_job
study=${WAN_STUDY:-wan_bench} tasks=${SLURM_NTASKS:-1}
require_word WAN_STUDY "$study" wan_bench wan_batch
if [ "$study" = wan_bench ]; then knob=WAN_BENCH; else knob=WAN_BATCH; fi
program=$(find_program "$study" "$knob")
require_libraries "$program"
folder=${WAN_STUDY_DIR:-$PWD/scaling_${SLURM_JOB_ID:-0}}
read_tasks_per_node
read -ra counts <<<"${WAN_COUNTS:-$(powers_up_to "$tasks")}"
for count in "${counts[@]}"; do
  if ! [[ $count =~ ^[1-9][0-9]*$ ]] || ((count > tasks)); then
    die "WAN_COUNTS has '$count'; this job has $tasks tasks, so it can be 1 to $tasks"
  fi
done
if [ "$study" = wan_batch ]; then
  default_checkpoint "$@"
  set -- "${checkpoint_words[@]}" "$@"
fi

made=() failed=()
choose_image "$folder" "$@"
for count in "${counts[@]}"; do
  run_count "$count" "$@"
  if [ "$exit_code" -eq 0 ]; then made+=("$folder/gpus_$count"); else failed+=("$count"); fi
  say "GPUs: $count, exit code $exit_code"
done
[ ${#made[@]} -gt 0 ] || fail "no count ran to its end, so there is nothing to report; the messages are above"
"$project/jobs/analysis.sh" report "${made[@]}" -o "$folder/report.html" --json "$folder/report.json"
say "report: $folder/report.html, its numbers: $folder/report.json"
[ ${#failed[@]} -eq 0 ] || fail "failed with GPUs: ${failed[*]}; the messages are above"
