#!/usr/bin/env bash
# A scaling study on this machine: a program is started again and again on several numbers of GPUs and in several layouts, in random,
# interleaved order, then one page has the medians with their intervals. Under Slurm: slurm/scaling_study.sh.
#
#   jobs/study.sh -o study -- --size '832*480' --steps 5                       # wan_bench: random weights; arguments are the program's
#   jobs/study.sh -o study --program wan_batch -- --ckpt-dir CKPT manifest.csv      # whole videos
#   jobs/study.sh -o study --case "1" --case "4 --group-size 4" --case "4 --group-size 1" --program wan_batch -- --ckpt-dir CKPT manifest.csv
#   jobs/study.sh -o study --budget 2 -- --steps 5                             # 2 hours in all; later the same command goes on
#
#   -o, --output DIR       the study: a folder for each start, study.json, starts.jsonl, report.html, report.json (default: study)
#   --program NAME         wan_bench or wan_batch (default: wan_bench), or the path of one
#   --counts "N N..."      numbers of ranks (default: 1, 2, 4 ... up to the GPUs of this machine; without GPUs up to its cores, at most 4)
#   --case "N OPTION..."   a number of ranks with options of the program; several times, instead of --counts
#   --precision PERCENT    a case has enough starts when the 95 % interval of its median step (wan_bench) or of its items per hour
#                          (wan_batch) ends so near the median (default: 1)
#   --starts N             a case has at least so many starts (default: 6)
#   --most-starts N        a case has at most so many starts (default: 40)
#   --budget HOURS         all starts together end after so many hours (default: no bound)
#   --session-hours HOURS  the starts of this call end after so many hours (default: no bound)
#   --seed N               of the random order (default: another one for each study; study.json holds it)
#   --help                 prints this
#
# A study that was stopped or killed at any moment goes on with the same command, and repeats no start that had ended. The end of the output
# and the page say what was left out. Exit codes: 0, also if the budget ended; 1 if a case failed or the study was stopped; 2 wrong usage.
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage_error() {
  printf 'study.sh: error: %s; --help lists the options\n' "$*" >&2
  exit 2
}

# Prints 1, 2, 4 ... up to $1, and $1 itself.
powers_up_to() {
  local count
  for ((count = 1; count < $1; count *= 2)); do printf '%d ' "$count"; done
  printf '%d' "$1"
}

program=wan_bench counts="" cases=() passed=()
while (($#)) && [ "$1" != -- ]; do
  case $1 in
    --program | --counts | --case | -o | --output | --precision | --starts | --most-starts | --budget | --session-hours | --seed)
      (($# > 1)) || usage_error "$1 needs a value"
      case $1 in
        --program) program=$2 ;;
        --counts) counts=$2 ;;
        --case) cases+=("$2") ;;
        *) passed+=("$1" "$2") ;;
      esac
      shift 2
      ;;
    -h | --help)
      print_help
      exit 0
      ;;
    *) usage_error "unknown option '$1'; the program's arguments come after --" ;;
  esac
done
[ "${1-}" != -- ] || shift
[[ $program == */* ]] || program=$project/build/bin/$program
[ -x "$program" ] || die "$program is not there: jobs/build.sh makes it, or give --program its path"
gpus=$({ nvidia-smi --list-gpus 2>/dev/null || true; } | wc -l)
if [ ${#cases[@]} -eq 0 ]; then
  cores=$(nproc)
  if ((gpus > 0)); then most=$gpus; else most=$((cores < 4 ? cores : 4)); fi
  read -ra cases <<<"${counts:-$(powers_up_to "$most")}"
fi
mpi_environment
launches=() widest=1
for case in "${cases[@]}"; do
  ranks=${case%% *}
  [[ $ranks =~ ^[1-9][0-9]*$ ]] || usage_error "'$case' does not begin with a number of ranks"
  if ((ranks > widest)); then widest=$ranks; fi
  passed+=(--case "$case")
  launches+=(--launch "$ranks mpirun${mpi_options[*]:+ $(printf '%q ' "${mpi_options[@]}")} -np $ranks")
done
# Each rank has as many threads in every case, so that a case does not differ in them.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(mpi_threads "$widest")}
exec "$project/jobs/analysis.sh" study "${passed[@]}" "${launches[@]}" -- "$program" "$@"
