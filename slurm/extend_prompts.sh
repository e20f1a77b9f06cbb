#!/usr/bin/env bash
#SBATCH --job-name=wan_prompts
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#
# jobs/extend_prompts.py on 4 GPUs of one node: each task loads the model on a GPU of its own and takes every fourth row. Arguments are
# those of jobs/extend_prompts.py:
#
#   sbatch slurm/extend_prompts.sh manifest.csv -o longer.csv --model /shared/Qwen2.5-14B-Instruct --target-lang en
#   sbatch --ntasks-per-node=1 --gpus-per-node=1 slurm/extend_prompts.sh manifest.csv -o longer.csv --model Qwen2.5_7B
#
# A minute before the time limit the tasks end; the rows that are done are kept. The job is requeued and continues there. A model that is
# given by its name must be in the cache already if the nodes have no internet: run the same arguments with --dry-run on the login node.
#
# All directives above can be changed on sbatch's command line. The settings (WAN_MODULES, WAN_BATCH, WAN_CKPT_DIR, WAN_REQUEUE, ...) are
# environment variables, described at the top of common.sh and in README.md.
set -euo pipefail
# Slurm runs a copy of this file from its spool folder; the job's record has the path of the submitted file. While Slurm's controller is
# down, the script asks for the record again. Both the path and the arguments after it may contain blanks and "/slurm/".
script=extend_prompts.sh project=${WAN_PROJECT:-$(dirname "$0")/..} record=""
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
program=$project/.venv/bin/python
[ -x "$program" ] || die "$program is not there; run jobs/setup.sh --with prompts"
export WAN_LAUNCHER=srun
prepare_job
[ -z "${WAN_IMAGE-}" ] || die "WAN_IMAGE is set, and $script runs no program of an image"
open_ledger ""  # in the scratch folder: this job keeps no record of its starts
command=("$program" -B "$project/jobs/extend_prompts.py" "$@")
catch_stops
# Each task ends by itself, with exit code 3 if some of its rows keep their prompt: that must not end the others.
run_ranks srun --export=ALL --mpi=none --ntasks="${SLURM_NTASKS:-1}" --cpus-per-task="$cores_per_rank" --kill-on-bad-exit=0 \
  "${command[@]}"
if [ -n "$stop_signal" ]; then
  read_preemption
  if [ "$SECONDS" -lt 300 ] && [ "$preempted" = no ]; then
    say "not requeued: this start ended after $SECONDS s, and the next one would end alike; ask for more time (--time)"
    exit 1
  fi
  requeue "$(stop_reason)"
fi
case $exit_code in
  # The last task writes the output. On some file systems it does not see the others' rows at once, so this makes sure of it.
  0 | 3) run_ranks "${command[@]}" --shard 0/1 ;;
esac
say "exit code $exit_code after $SECONDS s"
exit "$exit_code"
