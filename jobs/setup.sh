#!/usr/bin/env bash
# Prepares a Debian 12 or Ubuntu 24.04 machine to build wan_batch. It installs missing system packages through apt (with sudo if not
# root). It makes a Python environment in .venv with LibTorch (PyPI's torch), CMake and the test tools. Everything except the apt
# packages stays inside the checkout. You may run it again: a second run takes well under a second and changes nothing.
#
#   jobs/setup.sh
#   jobs/setup.sh --with prompts    also what jobs/extend_prompts.py needs (transformers)
#   jobs/setup.sh --with dialects   also what the nightly tests in tests/dialects need (diffusers and transformers)
#   jobs/setup.sh --help            prints this
#
# PIP_CACHE_DIR=FOLDER keeps pip's downloads for the next .venv.
# A smaller torch without CUDA libraries:  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu jobs/setup.sh
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

apt_packages=(
  g++ ninja-build ccache pkg-config git ca-certificates python3 python3-venv
  openmpi-bin libopenmpi-dev libhdf5-dev libfmt-dev libboost-program-options-dev nlohmann-json3-dev
  libavcodec-dev libavformat-dev libswscale-dev libavutil-dev libsentencepiece-dev libutf8proc-dev
  libgtest-dev libgmock-dev)
# torch is pinned, because the program links its libraries, and its kernels decide the last bits of a video. huggingface_hub is pinned,
# because a killed download continues with 0.36.0 but starts again with 2.4.0.
pip_requirements=("torch==2.11.0" "cmake>=4" numpy safetensors h5py==3.16.0 sentencepiece
  pandas==3.1.1 matplotlib==3.11.2 pytest==9.2.0 ruff==0.17.6 codespell==2.4.3 huggingface_hub==0.36.0
  av==16.0.1 scikit-image==0.26.0)
# The build uses only its CUDA headers (attention for Hopper GPUs), so its Python dependencies are not installed. Needs nvcc.
header_requirements=("flashinfer-python==0.6.0")
# For jobs/extend_prompts.py alone. transformers and tokenizers decide its texts, so they are pinned. They work with the torch above.
prompt_requirements=(transformers==4.57.6 tokenizers==0.22.2 regex==2026.11.19 "pillow>=11")
# For tests/dialects alone: the libraries that write users' checkpoints. src/checkpoint/dialects follows these versions.
dialect_requirements=("${prompt_requirements[@]}" diffusers==0.36.0 accelerate==1.12.0
  ftfy==6.3.1 importlib-metadata==8.7.0)

venv=$project/.venv
unfinished=$venv/.wan_unfinished  # exists while pip works, so that a .venv of an interrupted run is made again

without_root="try jobs/build.sh --prefix DIR (docs/cluster.md)"

usage() {
  printf 'setup.sh: error: %s\n' "$*" >&2
  exit 2
}

missing_apt_packages() {
  local installed
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${apt_packages[@]}" 2>/dev/null | awk '$2 == "installed" { print $1 }' || true)
  local package
  for package in "${apt_packages[@]}"; do
    grep -qxF -- "$package" <<<"$installed" || echo "$package"
  done
}

install_apt_packages() {
  command -v dpkg-query >/dev/null ||
    die "this is neither Debian nor Ubuntu (no dpkg); $without_root, or install the counterparts of: ${apt_packages[*]}"
  local missing
  mapfile -t missing < <(missing_apt_packages)
  if [ ${#missing[@]} -eq 0 ]; then
    say "system packages: all ${#apt_packages[@]} there"
    return
  fi
  local as_root=(env)
  if [ "$(id -u)" -ne 0 ]; then
    # -n: sudo fails instead of asking, so that a batch job does not wait for a password.
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      die "system packages are missing and this user may not install them (not root, no sudo without a password); $without_root, or ask for: apt-get install ${missing[*]}"
    fi
    as_root=(sudo -n env)
  fi
  say "system packages: installing ${missing[*]}"
  local apt=("${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  local log
  log=$(mktemp)
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "apt-get could not install ${missing[*]} (its last lines are above)"
  fi
  rm -f "$log"
}

has_nvcc() {
  [ -n "${CUDACXX-}" ] || command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]
}

# Prints each given requirement that the environment does not meet. Fails if its Python does not run.
unmet_requirements() {
  "$venv/bin/python" -I - "$@" <<'PYTHON'
import re
import sys
from importlib.metadata import PackageNotFoundError, version


def numbers(text):
    return [int(part) for part in re.findall(r"\d+", text.split("+")[0])]  # 2.11.0+cpu counts as 2.11.0


for requirement in sys.argv[1:]:
    name, relation, wanted = re.fullmatch(r"([\w-]+)(==|>=)?(.*)", requirement).groups()
    try:
        found = version(name)
    except PackageNotFoundError:
        print(requirement)
        continue
    if (relation == "==" and numbers(found) != numbers(wanted)) or (relation == ">=" and numbers(found) < numbers(wanted)):
        print(requirement)
PYTHON
}

make_venv() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "$(python3 --version) is too old: the test tools need Python 3.11 or newer; $without_root, which builds the programs without it"
  say "Python environment: making .venv"
  python3 -m venv "$venv" || die "python3 -m venv failed (its message is above)"
}

install_python_packages() {
  if [ -e "$unfinished" ] && [ ! -L "$venv" ]; then
    say "Python environment: removing the .venv that an interrupted run left"
    rm -rf -- "$venv"
  fi
  [ -x "$venv/bin/python" ] || make_venv
  local added=0
  pip_install "(torch and its CUDA libraries take 5 GB of disk)" "" "${pip_requirements[@]}"
  if has_nvcc; then pip_install "(45 MB of headers)" --no-deps "${header_requirements[@]}"; fi
  if [ "$with_prompts" = yes ]; then pip_install "(for jobs/extend_prompts.py, 130 MB)" "" "${prompt_requirements[@]}"; fi
  if [ "$with_dialects" = yes ]; then pip_install "(for tests/dialects)" "" "${dialect_requirements[@]}"; fi
  [ "$added" -ne 0 ] || say "Python environment: .venv has ${pip_requirements[*]}"
}

# pip_install NOTE OPTION REQUIREMENT...: installs the missing requirements and counts them in `added`.
pip_install() {
  local note=$1 option=$2 unmet
  shift 2
  unmet=$(unmet_requirements "$@") || die "$venv/bin/python does not run; remove $venv and try again"
  [ -n "$unmet" ] || return 0
  mapfile -t unmet <<<"$unmet"
  added=$((added + ${#unmet[@]}))
  say "Python environment: installing ${unmet[*]} $note"
  : >"$unfinished"
  # No cache unless PIP_CACHE_DIR is set: a cache would lie outside the checkout and double the disk space.
  local cache=--no-cache-dir
  if [ -n "${PIP_CACHE_DIR-}" ]; then cache=--cache-dir=$PIP_CACHE_DIR; fi
  "$venv/bin/python" -m pip install --quiet --no-input "$cache" --disable-pip-version-check --root-user-action=ignore \
    ${option:+"$option"} "${unmet[@]}" </dev/null || die "pip could not install ${unmet[*]} (its message is above); run again to go on"
  rm -f -- "$unfinished"
}

with_prompts=no
with_dialects=no
while [ $# -gt 0 ]; do
  case "$1 ${2-}" in
    "-h "* | "--help "*)
      print_help
      exit 0
      ;;
    "--with prompts") with_prompts=yes ;;
    "--with dialects") with_dialects=yes ;;
    *) usage "there are only --with prompts and --with dialects, not '$*'; --help says what they do" ;;
  esac
  shift 2
done
install_apt_packages
install_python_packages
