#!/usr/bin/env bash
# Checks the project's style: clang-format on C++ and CUDA, clang-tidy on C++ sources, ruff on Python, shellcheck on shell scripts,
# codespell on all texts.
#
#   tests/lint.sh                  the whole tree
#   tests/lint.sh --since BASE     the files that differ from the git commit BASE, committed or not, and new ones
#   tests/lint.sh FILE...          these files
#   tests/lint.sh --quick ...      the same without clang-tidy: seconds, and no build/ is needed
#
# clang-tidy takes 3 to 10 s per source on one core. A source that passed is checked again only when something that it depends on has
# changed (tests/tidy.py), so an interrupted run can continue. LINT_JOBS=N sets how many run at a time (the number of cores).
#
# It needs clang-format 14 (apt-get install clang-format), .venv (jobs/setup.sh) and a configured build/ (jobs/build.sh), each only if
# there are files for it. It installs its own version of clang-tidy into .venv (46 MB): since version 21, clang-tidy skips the
# declarations of system headers and takes at most a third of the time of Debian's version 14. If shellcheck or codespell is missing,
# its check is left out, and the last line says so.
# Exits with 1 if something was found.
set -euo pipefail
tidy_version=23.1.4  # .clang-tidy is written for it; others find other things
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "tests/lint.sh: error: $*; see tests/lint.sh --help" >&2
  exit 2
}

quick=no
if [[ ${1:-} == --quick ]]; then
  quick=yes
  shift
fi

# The files to look at, in `files`.
case ${1:-} in
  --since)
    [[ $# -eq 2 ]] || usage "--since takes one git commit"
    git rev-parse --quiet --verify "$2^{commit}" >/dev/null || usage "'$2' is no git commit"
    mapfile -t files < <({ git diff --name-only --diff-filter=d "$2"; git ls-files --others --exclude-standard; } | sort -u)
    ;;
  -h | --help)
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' tests/lint.sh
    exit 0
    ;;
  -*) usage "unknown option '$1'" ;;
  "") mapfile -t files < <(git ls-files --cached --others --exclude-standard) ;;
  *)
    files=("$@")
    for file in "${files[@]}"; do [[ -f $file ]] || usage "there is no file '$file'"; done
    ;;
esac

# of_kind REGEX: prints the files whose path matches.
of_kind() { printf '%s\n' "${files[@]}" | grep -E "$1" || true; }
mapfile -t formatted < <(of_kind '\.(h|cpp|cu|cuh)$')
mapfile -t code < <(of_kind '\.(h|cpp)$')
mapfile -t python < <(of_kind '\.py$')
mapfile -t shell < <(of_kind '\.sh$|^\.ci/[^.]*$')
[[ $quick == no ]] || code=()

require() {
  command -v "$1" >/dev/null || usage "$1 is not installed: apt-get install $1"
}
((${#formatted[@]} == 0)) || require clang-format
if ((${#code[@]})); then
  [[ -f build/compile_commands.json ]] || usage "build/ is not configured: run jobs/build.sh first"
fi
if ((${#python[@]} + ${#code[@]})); then
  [[ -x .venv/bin/ruff ]] || usage ".venv has no ruff: run jobs/setup.sh first"
fi
if ((${#code[@]})) && ! .venv/bin/clang-tidy --version 2>/dev/null | grep -qF "version $tidy_version"; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "clang-tidy==$tidy_version" ||
    usage "clang-tidy $tidy_version cannot be installed into .venv"
fi

failed=()
done_with=()
if ((${#formatted[@]})); then
  clang-format --dry-run --Werror "${formatted[@]}" || failed+=(clang-format)
  done_with+=("${#formatted[@]} files formatted")
fi
if ((${#python[@]})); then
  .venv/bin/ruff check --no-cache --quiet "${python[@]}" || failed+=(ruff)
  # The analysis package and its tests have stricter rules.
  mapfile -t strict < <(printf '%s\n' "${python[@]}" | grep '^tests/analysis/' || true)
  ((${#strict[@]} == 0)) || .venv/bin/ruff check --no-cache --quiet --config analysis/pyproject.toml "${strict[@]}" || failed+=("ruff of tests/analysis")
  done_with+=("${#python[@]} Python files")
fi
if ((${#shell[@]})); then
  if command -v shellcheck >/dev/null; then
    shellcheck -x "${shell[@]}" || failed+=(shellcheck)
    done_with+=("${#shell[@]} shell scripts")
  else
    done_with+=("shell scripts NOT checked, for shellcheck is not installed")
  fi
fi
if ((${#files[@]})); then
  # .codespellrc lists the excluded files and the words that are correct here.
  if codespell=$(PATH=$PWD/.venv/bin:$PATH command -v codespell); then
    "$codespell" "${files[@]}" || failed+=(codespell)
    done_with+=("${#files[@]} files spelled")
  else
    done_with+=("spelling NOT checked, for codespell is not installed")
  fi
fi
if ((${#code[@]})); then
  .venv/bin/python tests/tidy.py --jobs "${LINT_JOBS:-$(nproc)}" "${code[@]}" || failed+=(clang-tidy)
fi

((${#failed[@]} == 0)) || {
  echo "lint: found something: ${failed[*]}" >&2
  exit 1
}
printf -v list '%s, ' "${done_with[@]:-nothing to check}"
echo "lint: clean: ${list%, }"
