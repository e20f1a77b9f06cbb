#!/usr/bin/env bash
#SBATCH --job-name=wan_nightly
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --time=00:20:00
#SBATCH --output=wan_nightly-%j.log
#
# The nightly benchmark (jobs/nightly.sh) as a job, from the checkout:
#
#   sbatch slurm/nightly.sh [arguments of jobs/nightly.sh]
#   sbatch --gpus-per-node=8 --begin=02:00 slurm/nightly.sh --history /shared/wan_nightly
#
# The job fails (exit code 3) on a regression; its log says which part of a step grew. WAN_PROJECT names the checkout where the job does
# not start in it.
set -euo pipefail
# Slurm runs a copy of this file from its spool folder, so its own path says nothing.
project=${WAN_PROJECT:-${SLURM_SUBMIT_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}}
[ -x "$project/jobs/nightly.sh" ] || {
  echo "slurm/nightly.sh: error: $project is no checkout of wan_batch; submit from there, or set WAN_PROJECT" >&2
  exit 2
}
echo "slurm/nightly.sh: $project/jobs/nightly.sh $*"
exec "$project/jobs/nightly.sh" "$@"
