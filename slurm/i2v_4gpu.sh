#!/usr/bin/env bash
#SBATCH --job-name=wan_i2v_4gpu
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#
# wan_batch on 4 GPUs of one node, one rank each. Arguments are those of wan_batch:
#
#   sbatch slurm/i2v_4gpu.sh --ckpt-dir CKPT manifest.csv
#   sbatch --time=02:00:00 slurm/i2v_4gpu.sh --ckpt-dir CKPT --output-dir OUT --size 832*480 manifest.csv
#
# Three minutes before the time limit the ranks finish and save the current step and end. The job is requeued and continues there.
#
# All directives above can be changed on sbatch's command line. The settings (WAN_LAUNCHER, WAN_MODULES, ...) are environment
# variables, described at the top of common.sh and in README.md.
set -euo pipefail
# Slurm runs a copy of this file from its spool folder; the job's record has the path of the submitted file. While Slurm's controller is
# down, the script asks for the record again. Both the path and the arguments after it may contain blanks and "/slurm/".
script=i2v_4gpu.sh project=${WAN_PROJECT:-$(dirname "$0")/..} record=""
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
batch_job "$@"
