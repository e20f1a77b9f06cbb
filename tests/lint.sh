#!/usr/bin/env bash
# Checks the project's style: clang-format on every C++ and CUDA file, clang-tidy on every source file (or on those named).
#
#   tests/lint.sh [file.cpp ...]
#
# Needs clang-format and clang-tidy, and a configured build/ (jobs/build.sh). clang-tidy reads a copy of the compile commands
# without what only GCC understands: its precompiled header and its warning names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -f build/compile_commands.json ]] || { echo "tests/lint.sh: build/ is not configured; run jobs/build.sh first" >&2; exit 2; }

mapfile -t formatted < <(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')
clang-format --dry-run --Werror "${formatted[@]}"

mkdir -p build/lint
sed -E 's/-fpch-preprocess|-Winvalid-pch|-include [^ ]*cmake_pch\.hxx|-Wno-(restrict|stringop-overflow|maybe-uninitialized)//g' \
  build/compile_commands.json > build/lint/compile_commands.json
if (($#)); then sources=("$@"); else mapfile -t sources < <(git ls-files 'src/*.cpp' 'tests/*.cpp'); fi
printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy -p build/lint --quiet 2> >(grep -vE 'warnings? generated' >&2)
echo "lint: ${#formatted[@]} files formatted, ${#sources[@]} files tidy"
