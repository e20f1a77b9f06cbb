#!/usr/bin/env bash
# Builds everything into build/ (programs in build/bin/), after jobs/setup.sh. Arguments go to the build:
#
#   jobs/build.sh [--preset NAME] [--target NAME ...] [-j N]
#
#   --preset NAME      default or developer: warnings are errors (default: default)
#   --target NAME      builds this target alone, for example wan_batch_program; several may follow
#   -j N               compiles N files at a time (default: ninja decides by the number of cores)
#   --help             prints this
#
# Without root (docs/cluster.md): needs a C++ compiler, MPI, HDF5 and FFmpeg, from modules for example. The rest is downloaded, checked and
# built in .deps/ and build-prefix/ of the checkout.
#
#   jobs/build.sh --prefix DIR [-j N]                  builds and installs into DIR, which may be moved
#   jobs/build.sh --fetch FOLDER                       only downloads the archives, 2.6 GB, where there is a network
#   jobs/build.sh --prefix DIR --from FOLDER [-j N]    builds from these archives without a network
#   --cpu with any of the three                        for CPUs only: 0.7 GB of archives instead
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=jobs/without_root.sh
. "$project/jobs/without_root.sh"

usage() {
  printf 'build.sh: error: %s; --help lists the options\n' "$*" >&2
  exit 2
}

preset=default prefix="" fetch_into="" archives="" cpu_only=no arguments=() jobs=()
while [ $# -gt 0 ]; do
  case $1 in
    --preset | --prefix | --fetch | --from)
      [ -n "${2-}" ] || usage "$1 needs a value"
      case $1 in
        --preset) preset=$2 ;;
        --prefix) prefix=$(realpath -m -- "$2") ;;
        --fetch) fetch_into=$(realpath -m -- "$2") ;;
        --from) archives=$(realpath -m -- "$2") ;;
      esac
      shift
      ;;
    -h | --help)
      print_help
      exit 0
      ;;
    --cpu) cpu_only=yes ;;
    -j)
      [ -n "${2-}" ] || usage "-j needs a number"
      jobs=(-j "${2-}")
      arguments+=(-j "${2-}")
      shift
      ;;
    -j?*)
      jobs=("$1")
      arguments+=("$1")
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
[[ $preset == default || $preset == developer ]] || usage "--preset is default or developer, not '$preset'"

if [ -n "$prefix$fetch_into$archives" ] || [ "$cpu_only" = yes ]; then
  [ ${#arguments[@]} -eq ${#jobs[@]} ] || usage "'${arguments[*]}' does not go with --prefix, --fetch, --from or --cpu"
  [ -n "$prefix$fetch_into" ] || usage "--from and --cpu need --prefix DIR or --fetch FOLDER"
  [ -z "$fetch_into" ] || [ -z "$archives" ] || usage "there is either --fetch or --from"
  choose_archives
  [ -z "$archives" ] || [ -n "$prefix" ] || usage "--from needs --prefix DIR"
  if [ -n "$fetch_into" ]; then
    # Another machine may have no nvcc.
    [ "$cpu_only" = yes ] || groups=(base gpu nvcc)
    python_of_archives fetch "$fetch_into" "${groups[@]}"
    [ -n "$prefix" ] || exit 0
    archives=$fetch_into
  elif [ -z "$archives" ]; then
    archives=$project/.deps/archives
    python_of_archives fetch "$archives" "${groups[@]}"
  fi
  build_prefix
  say "this build is for $(cat "$prefix_build/built_for.txt")"
  exit 0
fi

"$project/jobs/setup.sh"
# ccache needs a writable folder. Service accounts and some batch jobs have none at home.
if [ -z "${CCACHE_DIR:-}" ] && { [ -z "${HOME:-}" ] || [ ! -w "${HOME:-}" ]; }; then
  export CCACHE_DIR=$project/.deps/ccache
fi

cmake=$project/.venv/bin/cmake
cd "$project"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "$cmake" --preset "$preset" >"$log" 2>&1; then
  cat "$log" >&2
  die "configuring failed (the output is above)"
fi
say "configured: $project/build"
"$cmake" --build --preset "$preset" "${arguments[@]}" || die "the build failed (the output is above)"
say "built: $project/build/bin"
say "this build is for $(cat "$project/build/built_for.txt")"
