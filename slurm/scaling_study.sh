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
# A scaling study: the same work on 1, 2, 4 and 8 GPUs, at least 6 starts of each in random, interleaved order, then one page with medians and
# intervals (jobs/study.sh has the same steps without Slurm).
#
#   sbatch slurm/scaling_study.sh                                       # wan_bench: the 14B model with random weights, 832*480
#   sbatch slurm/scaling_study.sh --size 1280*720 --steps 5             # options of wan_bench
#   WAN_STUDY=wan_batch sbatch slurm/scaling_study.sh --ckpt-dir CKPT manifest.csv    # options of wan_batch: whole videos
#   sbatch --nodes=2 --exclusive slurm/scaling_study.sh                 # 1, 2, 4, 8 and 16
#   WAN_STUDY=wan_batch WAN_CASES="8; 8 --group-size 4; 8 --group-size 1" sbatch slurm/scaling_study.sh manifest.csv     # layouts of 8
#   WAN_STUDY_DIR=scaling_4711 sbatch slurm/scaling_study.sh            # goes on with the study of job 4711
#
#   WAN_STUDY      the program to run: wan_bench or wan_batch (default: wan_bench)
#   WAN_COUNTS     numbers of GPUs, separated by blanks (default: 1, 2, 4 ... up to the job's tasks)
#   WAN_CASES      instead of WAN_COUNTS: numbers of GPUs with options of the program, separated by semicolons
#   WAN_STUDY_DIR  folder of the study, with report.html and report.json (default: scaling_JOBID where sbatch was started)
#   WAN_STUDY_STARTS     starts of each case at least (default: 6)
#   WAN_STUDY_PRECISION  percent: a case has enough starts when the 95 % interval of its median step (wan_bench) or of its items per hour
#                        (wan_batch) ends so near the median (default: 1)
#   WAN_STUDY_HOURS      all starts together (default: the job's time without its last 10 minutes)
#   WAN_BENCH      the program wan_bench (default: as for WAN_BATCH)
#
# A count that fails twice is left out of the report and makes the job's exit code 1. A study is not requeued, because a start in two pieces
# measures neither; a new job with the same folder and arguments goes on with it, and repeats no start. The top of common.sh describes the other settings (WAN_LAUNCHER, WAN_MODULES, ...).
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

prepare_job
study=${WAN_STUDY:-wan_bench} tasks=${SLURM_NTASKS:-1}
require_word WAN_STUDY "$study" wan_bench wan_batch
if [ "$study" = wan_bench ]; then knob=WAN_BENCH; else knob=WAN_BATCH; fi
program=$(find_program "$study" "$knob")
require_libraries "$program"
folder=${WAN_STUDY_DIR:-$PWD/scaling_${SLURM_JOB_ID:-0}}
read_tasks_per_node
list=WAN_COUNTS
if [ -n "${WAN_CASES-}" ]; then
  list=WAN_CASES
  IFS=';' read -ra cases <<<"$WAN_CASES"
else
  read -ra cases <<<"${WAN_COUNTS:-$(powers_up_to "$tasks")}"
fi
for case in "${cases[@]}"; do
  read -ra words <<<"$case"
  if ! [[ ${words[0]-} =~ ^[1-9][0-9]*$ ]] || ((words[0] > tasks)); then
    die "$list has '${words[0]-}'; this job has $tasks tasks, so it can be 1 to $tasks"
  fi
done
if [ "$study" = wan_batch ]; then
  default_checkpoint "$@"
  set -- "${checkpoint_words[@]}" "$@"
fi
choose_image "$folder" "$@"
options=(--output "$folder" --starts "${WAN_STUDY_STARTS:-6}" --precision "${WAN_STUDY_PRECISION:-1}")
end_s=${SLURM_JOB_END_TIME-}
if [ -n "${WAN_STUDY_HOURS-}" ]; then
  options+=(--budget "$WAN_STUDY_HOURS")
elif [[ $end_s =~ ^[0-9]+$ ]] && ((end_s - $(date +%s) > 900)); then
  left_s=$((end_s - $(date +%s) - 600))
  options+=(--session-hours "$(printf '%d.%03d' $((left_s / 3600)) $((left_s % 3600 * 1000 / 3600)))")
fi
for case in "${cases[@]}"; do
  read -ra words <<<"$case"
  count=${words[0]}
  launch_words "$count" "$((count < ranks_per_node ? count : ranks_per_node))"
  options+=(--case "${words[*]}" --launch "$count $(quoted "${launch[@]}")")
done
run_ranks "$project/jobs/analysis.sh" study "${options[@]}" -- "$program" "$@"
exit "$exit_code"
