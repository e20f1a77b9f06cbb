#!/usr/bin/env bash
#SBATCH --job-name=wan_i2v_array
#SBATCH --array=0-3
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --gpus-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.log
#
# A manifest split over a job array: each task is a separate job with 2 GPUs and makes every N-th row. Arguments are those of wan_batch:
#
#   sbatch slurm/i2v_array.sh --ckpt-dir CKPT manifest.csv
#   sbatch --array=0-15%4 slurm/i2v_array.sh --ckpt-dir CKPT --output-dir OUT manifest.csv     # 16 parts, 4 at a time
#   WAN_SHARDS=16 sbatch --array=3,7 slurm/i2v_array.sh --ckpt-dir CKPT --output-dir OUT manifest.csv    # two of the 16 again
#
# All tasks write to one output folder. Ids and automatic seeds are those of the whole manifest, so a task makes the same videos as a
# single job would. Each task is requeued separately.
#
#   WAN_SHARDS   the number of parts, of which task I makes part I (default: as many as the array has tasks, in the array's order)
#
# Three minutes before the time limit the ranks finish and save the current step and end. The job is requeued and continues there.
#
# All directives above can be changed on sbatch's command line. The settings (WAN_LAUNCHER, WAN_MODULES, ...) are environment
# variables, described at the top of common.sh and in README.md.
set -euo pipefail
# Slurm runs a copy of this file from its spool folder; the job's record has the path of the submitted file. While Slurm's controller is
# down, the script asks for the record again. Both the path and the arguments after it may contain blanks and "/slurm/".
script=i2v_array.sh project=${WAN_PROJECT:-$(dirname "$0")/..} record=""
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

[ -n "${SLURM_ARRAY_TASK_ID-}" ] || die "this is no job array; submit it with sbatch --array=0-3"
index=$SLURM_ARRAY_TASK_ID count=${WAN_SHARDS-}
if [ -z "$count" ]; then
  # shellcheck disable=SC2153  # they are Slurm's
  first=$SLURM_ARRAY_TASK_MIN stride=${SLURM_ARRAY_TASK_STEP:-1} count=$SLURM_ARRAY_TASK_COUNT
  index=$(((index - first) / stride))
  # With an array such as 0,1,5 a task cannot know its place.
  (((SLURM_ARRAY_TASK_MAX - first) / stride + 1 == count)) || die "the array has gaps; set WAN_SHARDS to the number of parts"
fi
batch_job --shard "$index/$count" "$@"
