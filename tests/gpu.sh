#!/usr/bin/env bash
# Tests on a machine with GPUs. Building is one command and running another, so that a GPU need not wait for a compiler:
#
#   tests/gpu.sh build             configures and builds what the parts below need, into build/ (CMAKE_ARGS: more arguments for CMake)
#   tests/gpu.sh [run] [PART ...]  runs the parts named, or all but the last; each takes less than 8 minutes:
#     kernels     every kernel and attention backend against its reference; a block of the real size in exact against fp32
#     comm        NCCL: conformance, a thousand steps with three groups in flight, ranks that hang or stay away
#     parity      the reference cases in fp32 and exact on every layout of 1, 2 and 4 GPUs, weights replicated, sharded, offloaded
#     sanitizer   compute-sanitizer memcheck on the small cases
#     full        wan_batch on a random checkpoint of the real size, which it writes to WAN_BIG_TMP (70 GB, memory-backed; a tmpfs
#                 is best), then again: the second run must skip everything. Not part of the default: name it.
#
# As many GPUs are used as there are, up to 4. Prints a line per part at the end; exit code 1 if one failed.
set -uo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../jobs/common.sh"
cd "$project" || exit 1
bin=build/tests/bin
programs=(wan_batch_program wan_bench kernels_gpu_test full_size_block_test kernel_timing
  comm_conformance_gpu_test comm_stress_test comm_hang_program engine_parity_gpu_test)

build() {
  local cmake=$project/.venv/bin/cmake
  [ -x "$cmake" ] || cmake=cmake
  # shellcheck disable=SC2086  # several arguments in one variable
  "$cmake" --preset default -DWAN_CUDA=ON ${CMAKE_ARGS:-} && "$cmake" --build build --target "${programs[@]}"
}

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)
rank_counts=()
for count in 1 2 4; do ((count <= gpus)) && rank_counts+=("$count"); done

with_ranks() {
  local ranks=$1
  shift
  mpirun "${mpi_options[@]}" -np "$ranks" "$@"
}

kernels() { "$bin/kernels_gpu_test" && "$bin/full_size_block_test"; }

comm() {
  local ranks when failed=0
  for ranks in "${rank_counts[@]}"; do
    with_ranks "$ranks" "$bin/comm_conformance_gpu_test" || failed=1
    with_ranks "$ranks" "$bin/comm_stress_test" || failed=1
    ((ranks == 1)) && continue
    for when in first later; do
      tests/gpu/comm/comm_hang_test.sh "$ranks" "$when" mpirun "${mpi_options[@]}" -np "$ranks" "$bin/comm_hang_program" || failed=1
    done
  done
  return $failed
}

parity() {
  local ranks failed=0
  for ranks in "${rank_counts[@]}"; do with_ranks "$ranks" "$bin/engine_parity_gpu_test" || failed=1; done
  return $failed
}

sanitizer() {
  compute-sanitizer --tool memcheck --error-exitcode 9 "$bin/kernels_gpu_test" \
    --gtest_filter='-*2048*:Shapes/AttentionGpu*/4:Shapes/AttentionGpu*/5'
}

full() {
  local folder=${WAN_BIG_TMP:?name a memory-backed folder with 70 GB of room} ranks=${rank_counts[-1]}
  local python=$project/.venv/bin/python
  [ -x "$python" ] || python=python3
  local image=$project/tests/data/parity/i2v_landscape/input.png
  [ -e "$folder/ckpt" ] ||
    "$python" tests/gpu/make_random_checkpoint.py "$folder/ckpt" tests/data/parity/i2v_landscape/ckpt/google/umt5-xxl || return 1
  printf 'image,prompt\n%s,a harbour at dawn\n%s,two boats\n%s,rain\n' "$image" "$image" "$image" >"$folder/manifest.csv"
  rm -rf "$folder/out"
  local command=(build/bin/wan_batch --ckpt-dir "$folder/ckpt" --size 832*480 --sample-steps 4 --output-dir "$folder/out" "$folder/manifest.csv")
  with_ranks "$ranks" "${command[@]}" || return 1
  with_ranks "$ranks" "${command[@]}" | tee "$folder/second.txt" || return 1
  [ "$(find "$folder/out" -name '*.mp4' -size +0 | wc -l)" -eq 3 ] && grep -q '3 of 3 done (3 from before)' "$folder/second.txt"
}

if [ "${1:-}" = build ]; then
  build
  exit
fi
[ "${1:-}" = run ] && shift
((gpus > 0)) || die "nvidia-smi lists no GPU here"
mpi_environment
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(kernels comm parity sanitizer)
summary=() status=0
for part in "${parts[@]}"; do
  case $part in
    kernels | comm | parity | sanitizer | full) ;;
    *) die "there is no part '$part'; there are kernels, comm, parity, sanitizer and full" ;;
  esac
  start=$SECONDS outcome=passed
  "$part" || outcome=FAILED status=1
  summary+=("$(printf '%-10s %-7s %4d s on up to %d GPUs' "$part" "$outcome" $((SECONDS - start)) "${rank_counts[-1]}")")
done
printf '%s\n' "${summary[@]}"
exit $status
