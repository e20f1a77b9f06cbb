#!/usr/bin/env bash
# The scaling study of one machine, without Slurm: checks, benchmarks, loading, a manifest and a stop on 1, 2, 4 and 8 GPUs, and one page.
# Each call stands alone, ends after 8 minutes at the latest, and adds to one folder:
#
#   jobs/scaling.sh -o scaling --plan                # what there is to do, with the expected seconds
#   jobs/scaling.sh -o scaling                       # the first 8 minutes of it; exit code 85: the same command goes on
#   jobs/scaling.sh -o scaling bench-720p report     # these parts only
#   jobs/scaling.sh -o dry --device cpu --counts "1 2 4 8"      # the same on CPU ranks, with the toy model
#
# Parts, in this order:
#   checks      tests/gpu.sh kernels once, comm and parity on every count; parity on several GPUs in four pieces, so that each ends in a call
#   bench-480p  wan_bench on every count, three starts of each in random, interleaved order: text encoder, VAE and steps, exact; also the
#               sequence on 2 GPUs, sharded weights on the two largest counts, and an exchange in one piece on the largest one
#   bench-720p  the same at 1280*720
#   load        wan_batch reads bf16 and fp32 files on the two largest counts: seconds, and peak anonymous host memory
#   items       a manifest of 16 items of 4 steps on the largest count as 1 group, 2 groups, and groups of 1; groups without items join
#   stop        an item stops on the largest count and goes on with half of it; its bytes are compared with those of a run without a stop
#   report      report.html and report.json of all that is there, and what is missing
#
#   -o, --output DIR       the study (default: scaling)
#   --counts "N N..."      numbers of ranks (default: 1, 2, 4, 8 up to the GPUs of this machine)
#   --device NAME          cuda or cpu (default: cuda); cpu takes small sizes
#   --seconds N            of this call (default: 450; a program that does not end then is killed 20 s later)
#   --starts N             starts of each case of the benchmarks (default: 3)
#   --steps N              steps of wan_bench that count (default: 3; half of them at 720p)
#   --items N              rows of the manifest (default: 16)
#   --seed N               of the random orders (default: another one for each study)
#   --types "TYPE TYPE"    types of the files to be loaded (default: bf16 fp32)
#   --scratch DIR          checkpoints of random weights at full size are made there: DIR/bf16 and DIR/fp32, 40 and 68 GB, and videos
#                          (default: /dev/shm/wan_scaling)
#   --build DIR            where the programs were built (default: build)
#   --plan                 prints the plan and ends
#   --help                 prints this
#
# Options stay the same in all calls of a study; its plan, plan.jsonl, is that of the last call. Rows that passed and starts that ended are
# not made again.
# Exit codes: 0 all that was asked for is done; 85 the time is over, and the same command goes on; 1 something failed; 2 wrong usage;
# 130 or 143 it was stopped by Ctrl-C or SIGTERM, and the same command goes on.
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=jobs/scaling_parts.sh
. "$project/jobs/scaling_parts.sh"
# shellcheck source=jobs/scaling_plan.sh
. "$project/jobs/scaling_plan.sh"

usage_error() {
  say "error: $*; --help lists the options" >&2
  exit 2
}

folder=scaling counts_text="" device=cuda seconds=450 starts=3 steps=3 items=16 seed="" types_text="bf16 fp32" scratch=/dev/shm/wan_scaling
build=$project/build only_plan=no asked=()
while (($#)); do
  case $1 in
    -o | --output | --counts | --device | --seconds | --starts | --steps | --items | --seed | --types | --scratch | --build)
      (($# > 1)) || usage_error "$1 needs a value"
      case $1 in
        -o | --output) folder=$2 ;;
        --counts) counts_text=$2 ;;
        --types) types_text=$2 ;;
        --device | --scratch | --build) printf -v "${1#--}" %s "$2" ;;
        *)
          [[ $2 =~ ^[1-9][0-9]*$ ]] || usage_error "$1 takes a number above 0, not '$2'"
          printf -v "${1#--}" %s "$2"
          ;;
      esac
      shift 2
      ;;
    --plan)
      only_plan=yes
      shift
      ;;
    -h | --help)
      print_help
      exit 0
      ;;
    checks | bench-480p | bench-720p | load | items | stop | report)
      asked+=("$1")
      shift
      ;;
    *) usage_error "'$1' is no part and no option" ;;
  esac
done
[ ${#asked[@]} -gt 0 ] || asked=(checks bench-480p bench-720p load items stop report)
[[ $device =~ ^(cuda|cpu)$ ]] || usage_error "--device is cuda or cpu, not '$device'"
gpus=$({ nvidia-smi --list-gpus 2>/dev/null || true; } | wc -l)
if [ -n "$counts_text" ]; then
  read -ra counts <<<"$counts_text"
else
  counts=()
  for count in 1 2 4 8; do ((count > gpus)) || counts+=("$count"); done
fi
[ ${#counts[@]} -gt 0 ] || usage_error "nvidia-smi lists no GPU here; give --counts"
largest=0
for count in "${counts[@]}"; do
  if ! [[ $count =~ ^[1-9][0-9]*$ ]] || ((count <= largest)); then
    usage_error "--counts are numbers of ranks, the smallest first, not '$count'"
  fi
  largest=$count
done
[ "$device" = cpu ] || [ "$only_plan" = yes ] || ((largest <= gpus)) || usage_error "there are $gpus GPUs here, not $largest"
read -ra types <<<"$types_text"
[ "$device" = cuda ] || types=(fp32) # the toy's files
choose_work
if [ "$only_plan" = yes ]; then
  print_plan
  exit 0
fi
for program in "$wan_batch" "$wan_bench"; do
  [ -x "$program" ] || die "$program is not there: jobs/build.sh makes it, or give --build"
done
mkdir -p "$folder" "$scratch"
folder=$(cd "$folder" && pwd) scratch=$(cd "$scratch" && pwd)
exec {lock}<"$folder"
flock -n "$lock" || die "$folder: this study is running"
mpi_environment
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(mpi_threads "$largest")}
write_plan
exec 3>&1 # not into the file to which a command writes
running=""
trap 'end_by_signal 130' INT
trap 'end_by_signal 143' TERM
status=0
for part in "${asked[@]}"; do
  say "$part, after $SECONDS s"
  "part_${part//-/_}"
done
case $status in
  0) say "done: ${asked[*]}" ;;
  85) say "the time is over; the same command goes on" ;;
  *) say "something failed; its output is under $folder/logs and in the folders of the starts" ;;
esac
exit "$status"
