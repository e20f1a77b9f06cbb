#!/usr/bin/env bash
#SBATCH --job-name=wan_nightly
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=00:20:00
#SBATCH --no-requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#
# The nightly benchmark (jobs/nightly.sh) as a job:
#
#   sbatch slurm/nightly.sh [arguments of jobs/nightly.sh]
#   sbatch --ntasks-per-node=8 --gpus-per-node=8 --begin=02:00 slurm/nightly.sh --history /shared/wan_nightly
#
# The job fails (exit code 3) if something became worse; its log says since when, and in which part of a step. It runs under mpirun, as by
# hand. A night that is far off is measured twice. It is not requeued, because it measures one night. It uses the settings WAN_PROJECT, WAN_MODULES and WAN_SCRATCH of common.sh.
set -euo pipefail
# Slurm runs a copy of this file from its spool folder; the job's record has the path of the submitted file. While Slurm's controller is
# down, the script asks for the record again. Both the path and the arguments after it may contain blanks and "/slurm/".
script=nightly.sh project=${WAN_PROJECT:-$(dirname "$0")/..} record=""
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

export WAN_LAUNCHER=mpirun
prepare_job
[ -z "${WAN_IMAGE-}" ] || die "WAN_IMAGE is set, and $script runs no program of an image"
say "run: $(quoted "$project/jobs/nightly.sh" "$@")"
"$project/jobs/nightly.sh" "$@"
