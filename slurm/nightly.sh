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
# The job fails (exit code 3) on a regression; its log says which part of a step grew. It runs under mpirun, as by hand, and is not
# requeued: what is measured is one night's. Of the knobs in common.sh, WAN_PROJECT, WAN_MODULES and WAN_SCRATCH apply.
set -euo pipefail
# Slurm runs a copy of this file from its spool folder; the job's record tells where it was submitted from.
project=${WAN_PROJECT:-$(scontrol show job "${SLURM_JOB_ID-}" 2>/dev/null |
  sed -nE '/^ *Command=/ { s|^ *Command=(/[^ ]*)/slurm/[^ /]*\.sh.*|\1|p; q }' || true)}
project=${project:-${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}}
[ -r "$project/slurm/common.sh" ] || {
  echo "slurm/nightly.sh: error: $project is no checkout of wan_batch; submit from one, or set WAN_PROJECT" >&2
  exit 2
}
# shellcheck source=slurm/common.sh
. "$project/slurm/common.sh"

export WAN_LAUNCHER=mpirun
prepare_job
say "run: $(quoted "$project/jobs/nightly.sh" "$@")"
"$project/jobs/nightly.sh" "$@"
