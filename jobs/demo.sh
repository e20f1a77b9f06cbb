#!/usr/bin/env bash
# Sets up, builds and makes the demo's videos with two ranks on the CPU: four images of four aspect ratios, a toy checkpoint with
# random weights (so the videos are coloured noise, not cats), well under a minute once built.
#
#   jobs/demo.sh [wan_batch options]        for example: jobs/demo.sh --no-resume
#
# RANKS=N changes the number of ranks (2), OUTPUT_DIR the folder (outputs/demo).
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ranks=${RANKS:-2}
output_dir=${OUTPUT_DIR:-$project/outputs/demo}
[[ $ranks =~ ^[1-9][0-9]*$ ]] || die "RANKS is '$ranks', not a number of ranks"

"$project/jobs/build.sh"
mpi_environment
OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(mpi_threads "$ranks")}
export OMP_NUM_THREADS

cd "$project"
status=0
mpirun -np "$ranks" "${mpi_options[@]}" build/bin/wan_batch --config inputs/demo/demo.cfg --output-dir "$output_dir" "$@" ||
  status=$?
say "videos: $output_dir/*.mp4 ($(find "$output_dir" -maxdepth 1 -name '*.mp4' 2>/dev/null | wc -l))"
say "trace:  $output_dir/trace.h5 (HDF5, read it with h5py)"
for log in "$output_dir"/*.log; do
  [ ! -e "$log" ] || say "log:    $log"
done
exit "$status"
