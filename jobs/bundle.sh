#!/usr/bin/env bash
# Makes one folder, or one tar, of all that a run needs from an installed prefix: the programs, LibTorch with its CUDA libraries, the batch
# scripts, the modulefile and the demo. It has fewer than 300 files (3.5 GB, or 0.5 GB for CPUs only), and may lie anywhere. Site libraries
# stay where they are: MPI, HDF5, FFmpeg.
#
#   jobs/bundle.sh PREFIX FOLDER       hard links where PREFIX is on the same file system
#   jobs/bundle.sh PREFIX FILE.tar     tar xf FILE.tar makes the folder wan_batch
#   jobs/bundle.sh --help              prints this
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [[ ${1-} == --help || ${1-} == -h ]]; then
  print_help
  exit 0
fi
[ $# -eq 2 ] || {
  echo "bundle.sh: error: two arguments are needed, PREFIX and FOLDER or FILE.tar; see --help" >&2
  exit 2
}
prefix=$(realpath -- "$1") target=$(realpath -m -- "$2")
[ -x "$prefix/bin/wan_batch" ] || die "there is no $prefix/bin/wan_batch; PREFIX is that of: jobs/build.sh --prefix PREFIX"
[ -e "$prefix/lib/wan/torch/lib/libtorch_cpu.so" ] || die "$prefix/lib/wan has no LibTorch: it was installed with WAN_INSTALL_TORCH=OFF, or its lib is lib64"
[ ! -e "$target" ] || die "$target is there already; remove it or give another name"

# The libraries that the programs take from the machine, and fails if one is not found.
list_outside_libraries() {
  local found
  found=$(ldd "$1"/bin/wan_batch "$1"/bin/wan_bench "$1"/bin/wan_doctor)
  if grep -q 'not found' <<<"$found"; then
    grep 'not found' <<<"$found" | sort -u >&2
    die "these libraries are not found; load the modules that wan_batch was built with"
  fi
  awk '$3 ~ /^\// { print $1, $3 }' <<<"$found" | grep -vF " $1/" | grep -E '^lib(mpi|hdf5|avcodec|avformat|avutil|swscale)' | sort -u
}

parent=$(dirname "$target")
mkdir -p "$parent"
scratch=$(mktemp -d "$parent/.wan_bundle.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
folder=$scratch/wan_batch
mkdir -p "$folder/lib" "$folder/share"
copy() { cp -al -- "$1" "$2" 2>/dev/null || { rm -rf -- "${2:?}/$(basename "$1")" && cp -a -- "$1" "$2"; }; }
copy "$prefix/bin" "$folder"
copy "$prefix/lib/wan" "$folder/lib"
copy "$prefix/share/wan_batch" "$folder/share"
copy "$prefix/share/doc" "$folder/share"
copy "$prefix/share/modulefiles" "$folder/share"
list_outside_libraries "$folder" >"$folder/NEEDS.txt"
chmod 755 "$folder"
files=$(find "$folder" -type f -o -type l | wc -l)
size=$(du -s --block-size=1MB --apparent-size "$folder" | cut -f 1)
if [[ $target == *.tar ]]; then
  tar -C "$scratch" -cf "$scratch/tar" wan_batch
  mv -- "$scratch/tar" "$target"
else
  mv -- "$folder" "$target"
fi
say "$target: $files files, $size MB. NEEDS.txt in it names the libraries that it takes from the machine"
