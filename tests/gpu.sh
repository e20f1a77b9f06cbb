#!/usr/bin/env bash
# Tests on a machine with GPUs. Building and running are separate commands, so that a GPU does not wait for a compiler:
#
#   tests/gpu.sh build             configures and builds what the parts below need, into build/ (CMAKE_ARGS: more arguments for CMake)
#   tests/gpu.sh [run] [--ranks "N N..."] [PART ...]
#                   runs the given parts, or all of the list up to sanitizer. comm, ulysses, parity and memory run on each number of
#                   ranks: 1, 2, 4 and 8 up to the GPUs of this machine, or those of --ranks. A part that takes 8 minutes on one
#                   number of ranks is ended and has failed
#     kernels     every kernel and attention backend against its reference; 200 attention calls under load with equal bits; a
#                 block of the real size in bf16 against fp32; LoRAs that a GPU adds against those of the CPU; experts that come in
#                 from the host beside the steps, to the bit
#     comm        NCCL: conformance, a thousand steps with three groups in flight, exchanges of the real sizes by copy engines
#                 through registered memory, ranks that hang or stay away
#     ulysses     two blocks of the real width with the sequence split over the GPUs, in chunks and with padding, against one GPU
#     parity      the reference cases in fp32 and bf16 on every layout of 1, 2, 4 and 8 GPUs, weights replicated, sharded, offloaded;
#                 Lightning with its LoRAs; requests with different LoRAs, to the bit. Parts of it: parity-reference,
#                 parity-lightning, parity-family, parity-loras
#     memory      memory that runs out on one GPU in each phase of a request fails it alone, and comes back
#     refusals    a run that is not possible (GPUs too few, too small, unequal or without peer access, an old driver, NCCL failing)
#                 ends with exit code 2 and a message; a row that is too large fails alone; without peer access the bits are the same
#     sanitizer   compute-sanitizer memcheck on the small cases: kernels, the engine on 1 GPU, wan_batch on 2
#     checkpoint  writes a random checkpoint of the real size to WAN_BIG_TMP (70 GB, memory-backed; a tmpfs is best)
#     full        wan_batch on that checkpoint, whose ranks may take 4 GiB of anonymous host memory together while they load, then
#                 again: the second run must skip everything
#
# At the end it prints one line for each part and number of ranks; exit code 1 if one failed.
# shellcheck disable=SC2317,SC2329  # the parts are called by their names
set -uo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../jobs/common.sh"
if [[ ${1-} == --help || ${1-} == -h ]]; then
  print_help | grep -v '^shellcheck '
  exit 0
fi
cd "$project" || exit 1
bin=build/tests/bin
programs=(wan_batch_program wan_bench kernels_gpu_test full_size_block_test kernel_timing vae_timing expert_switch_gpu_test switch_timing
  comm_conformance_gpu_test comm_stress_test comm_window_test comm_hang_program ulysses_gpu_test engine_parity_gpu_test engine_memory_gpu_test engine_test
  fake_gpus)
part_limit_s=480
python=$project/.venv/bin/python
[ -x "$python" ] || python=python3
parity_case=$project/tests/data/parity/i2v_landscape

build() {
  local cmake=$project/.venv/bin/cmake
  [ -x "$cmake" ] || cmake=cmake
  # shellcheck disable=SC2086  # several arguments in one variable
  "$cmake" --preset default -DWAN_CUDA=ON ${CMAKE_ARGS:-} && "$cmake" --build build --target "${programs[@]}"
}

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)
rank_counts=()
for count in 1 2 4 8; do ((count <= gpus)) && rank_counts+=("$count"); done

with_ranks() {
  local ranks=$1
  shift
  mpirun "${mpi_options[@]}" -np "$ranks" "$@"
}

kernels() {
  "$bin/kernels_gpu_test" && "$bin/full_size_block_test" && "$bin/engine_test" --gtest_filter='LoraWeights*' && "$bin/expert_switch_gpu_test"
}

# Parts for each number of ranks: PART RANKS

comm() {
  local ranks=$1 when failed=0
  with_ranks "$ranks" "$bin/comm_conformance_gpu_test" || failed=1
  with_ranks "$ranks" "$bin/comm_stress_test" || failed=1
  ((ranks > 1)) || return "$failed"
  with_ranks "$ranks" "$bin/comm_window_test" || failed=1
  for when in first later; do
    tests/gpu/comm/comm_hang_test.sh "$ranks" "$when" mpirun "${mpi_options[@]}" -np "$ranks" "$bin/comm_hang_program" || failed=1
  done
  return "$failed"
}

ulysses() {
  if (($1 > 1)); then
    with_ranks "$1" "$bin/ulysses_gpu_test"
  else
    say "one rank has nothing to split"
  fi
}

parity() { with_ranks "$1" "$bin/engine_parity_gpu_test" "${@:2}"; }
parity-reference() { parity "$1" --gtest_filter='Reference/*'; }
parity-lightning() { parity "$1" --gtest_filter='Lightning/*'; }
parity-family() { parity "$1" --gtest_filter='Family/*'; }
parity-loras() { parity "$1" --gtest_filter='*GpuLoraSets*'; }

memory() { with_ranks "$1" "$bin/engine_memory_gpu_test"; }

# Parts that are made once

refusals() { "$python" tests/gpu/refusals/refusals.py; }

# Every tensor gets its own memory. Otherwise LibTorch cuts tensors from blocks, and an access beyond one tensor would not be seen. The
# programs check the results of their calls themselves, and some calls of NCCL must fail.
memcheck=(env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 9)

# Shards, exchanges and the VAE's rows over NCCL, in one layout that has them all.
memcheck_two_ranks() {
  local folder failed=0
  folder=$(mktemp -d)
  printf 'id,image,prompt\none,%s,a harbour at dawn\n' "$parity_case/input.png" >"$folder/manifest.csv"
  with_ranks 2 "${memcheck[@]}" build/bin/wan_batch --ckpt-dir "$parity_case/ckpt" --device cuda --size 64*64 --frame-num 5 \
    --sample-steps 2 --cfg-size 1 --ulysses-size 2 --dit-fsdp on --collective-timeout 400 --output-dir "$folder/out" \
    "$folder/manifest.csv" || failed=1
  rm -rf "$folder"
  return "$failed"
}

sanitizer() {
  local failed=0
  "${memcheck[@]}" "$bin/kernels_gpu_test" --gtest_filter='-*2048*:Shapes/AttentionGpu*/4:Shapes/AttentionGpu*/5:AttentionUnderLoad*:VaeAttention*' || failed=1
  "${memcheck[@]}" "$bin/engine_parity_gpu_test" --gtest_filter='*/i2v_landscape_bf16' || failed=1
  if ((gpus > 1)); then
    memcheck_two_ranks || failed=1
  else
    say "memcheck on 2 ranks skipped: there is 1 GPU"
  fi
  return "$failed"
}

checkpoint() {
  local folder=${WAN_BIG_TMP:?name a memory-backed folder with 70 GB of room}
  rm -rf "$folder/ckpt"
  "$python" tests/gpu/make_random_checkpoint.py "$folder/ckpt" "$parity_case/ckpt/google/umt5-xxl"
}

full() {
  local folder=${WAN_BIG_TMP:?name the folder that the part checkpoint wrote to} ranks=${rank_counts[-1]}
  [ -e "$folder/ckpt" ] || die "there is no checkpoint in $folder: run the part checkpoint first"
  local image=$parity_case/input.png
  printf 'image,prompt\n%s,a harbour at dawn\n%s,two boats\n%s,rain\n' "$image" "$image" "$image" >"$folder/manifest.csv"
  rm -rf "$folder/out"
  local command=(build/bin/wan_batch --ckpt-dir "$folder/ckpt" --size 832*480 --sample-steps 4 --output-dir "$folder/out" "$folder/manifest.csv")
  "$python" tests/gpu/host_memory.py --most-gib 4 mpirun "${mpi_options[@]}" -np "$ranks" "${command[@]}" || return 1
  with_ranks "$ranks" "${command[@]}" | tee "$folder/second.txt" || return 1
  [ "$(find "$folder/out" -name '*.mp4' -size +0 | wc -l)" -eq 3 ] && grep -q '3 of 3 done (3 from before)' "$folder/second.txt"
}

if [ "${1:-}" = build ]; then
  build
  exit
fi
((gpus > 0)) || die "nvidia-smi lists no GPU here"
mpi_environment
if [ "${1:-}" = part ]; then # this script calls itself: part PART [RANKS]
  "${@:2}"
  exit
fi
[ "${1:-}" = run ] && shift
if [ "${1:-}" = --ranks ]; then
  [ -n "${2:-}" ] || die "--ranks needs numbers of ranks"
  read -ra rank_counts <<<"$2"
  shift 2
  for count in "${rank_counts[@]}"; do
    if ! [[ $count =~ ^[1-9][0-9]*$ ]] || ((count > gpus)); then
      die "--ranks takes numbers from 1 to the $gpus GPUs here, not '$count'"
    fi
  done
fi
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(kernels comm ulysses parity memory refusals sanitizer)
runs=() # PART, or PART RANKS
for part in "${parts[@]}"; do
  case $part in
    comm | ulysses | parity | parity-reference | parity-lightning | parity-family | parity-loras | memory)
      for count in "${rank_counts[@]}"; do runs+=("$part $count"); done
      ;;
    kernels | refusals | sanitizer | checkpoint | full) runs+=("$part") ;;
    *) die "there is no part '$part'; there are kernels, comm, ulysses, parity (parity-reference, parity-lightning, parity-family," \
      "parity-loras), memory, refusals, sanitizer, checkpoint and full" ;;
  esac
done

# timeout gives its command a process group of its own, which a signal to this script does not reach.
running=""
end_the_running() {
  [ -z "$running" ] || kill "$running" 2>/dev/null
  exit 143
}
trap end_the_running TERM INT HUP

summary=() status=0
for run in "${runs[@]}"; do
  read -ra words <<<"$run"
  start=$SECONDS outcome=passed
  timeout --kill-after=20 "$part_limit_s" tests/gpu.sh part "${words[@]}" &
  running=$!
  wait "$running" || outcome=FAILED status=1
  running=""
  summary+=("$(printf '%-18s %-7s %4d s%s' "${words[0]}" "$outcome" $((SECONDS - start)) "${words[1]:+ on ${words[1]} GPUs}")")
done
printf '%s\n' "${summary[@]}"
exit $status
