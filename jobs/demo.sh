#!/usr/bin/env bash
# Sets up, builds and makes the demo's six videos with two ranks: shapes that move as their prompts say. The checkpoint is a very small one
# in the official layout (inputs/demo/train). After the build it takes half a minute of two CPU cores.
#
#   jobs/demo.sh [wan_batch options]        for example: jobs/demo.sh --no-resume
#   jobs/demo.sh --help                     prints this; build/bin/wan_batch --help lists the options
#
# In the end demo.png in the output folder shows frames of each video, and index.html there plays them.
# RANKS=N changes the number of ranks (2), OUTPUT_DIR the folder (outputs/demo).
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [[ ${1-} == --help || ${1-} == -h ]]; then
  print_help
  exit 0
fi
ranks=${RANKS:-2}
output_dir=${OUTPUT_DIR:-outputs/demo}
[[ $ranks =~ ^[1-9][0-9]*$ ]] || die "RANKS is '$ranks', not a number of ranks"

"$project/jobs/build.sh" --target wan_batch_program
mpi_environment
OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(mpi_threads "$ranks")}
export OMP_NUM_THREADS

cd "$project"
status=0
mpirun -np "$ranks" "${mpi_options[@]}" build/bin/wan_batch --device cpu --config inputs/demo/demo.cfg --output-dir "$output_dir" "$@" || status=$?
# Some rows may have failed (3); --plan and the like leave no videos.
if compgen -G "$output_dir/*.mp4" >/dev/null && { [ "$status" -eq 0 ] || [ "$status" -eq 3 ]; }; then
  .venv/bin/python jobs/contact_sheet.py "$output_dir" --name demo ||
    echo "demo.sh: the videos in $output_dir are complete, but their contact sheet could not be made" >&2
fi
exit "$status"
