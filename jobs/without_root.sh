# shellcheck shell=bash
# The build without root, for jobs/build.sh, which sources this. It needs a C++ compiler, MPI, HDF5, FFmpeg and Python 3.6. Everything else
# comes from wheels and source archives (jobs/archives.txt). They are unpacked into .deps/site, and nothing of them is installed elsewhere.
# shellcheck disable=SC2154  # build.sh sets cpu_only, prefix, archives and jobs

site=$project/.deps/site
prefix_build=$project/build-prefix

# Sets groups: the groups of archives. Sets nvcc to the machine's nvcc if that is version 13.
choose_archives() {
  groups=(base)
  if [ "$cpu_only" = yes ]; then
    # In folders of its own, for parts of LibTorch are removed there.
    site=$project/.deps/site-cpu
    prefix_build=$project/build-prefix-cpu
    return
  fi
  groups+=(gpu)
  nvcc=${CUDACXX:-$(command -v nvcc || true)}
  [ -n "$nvcc" ] || nvcc=/usr/local/cuda/bin/nvcc
  local version
  version=$("$nvcc" --version 2>/dev/null | sed -n 's/.*, V\([0-9.]*\)$/\1/p' || true)
  if [[ $version == 13.* ]]; then
    say "nvcc: $nvcc, version $version"
    return
  fi
  [ -z "$version" ] || say "nvcc: $nvcc is version $version, but LibTorch is for CUDA 13"
  say "nvcc: NVIDIA's wheels, version 13.0"
  groups+=(nvcc)
  nvcc=$site/nvidia/cu13/bin/nvcc
}

python_of_archives() {
  command -v python3 >/dev/null || die "there is no python3, which unpacks the archives; try: module load Python"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 6))' || die "$(python3 --version) is too old: jobs/archives.py needs 3.6"
  python3 -B "$project/jobs/archives.py" "$@" || die "the archives are not complete (the message is above)"
}

# build_source NAME FOLDER TARGET OPTION...: builds a static library that no other library sees, into $site/made.
build_source() {
  local name=$1 source=$2 target=$3 log
  shift 3
  [ ! -e "$site/made/.$name" ] || return 0
  say "$name: building it from its sources"
  log=$site/$name.log
  if ! { "$cmake" -S "$source" -B "$site/build/$name" -G Ninja "-DCMAKE_MAKE_PROGRAM=$ninja" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_C_VISIBILITY_PRESET=hidden \
    -DCMAKE_CXX_VISIBILITY_PRESET=hidden -DCMAKE_VISIBILITY_INLINES_HIDDEN=ON "$@" &&
    "$cmake" --build "$site/build/$name" --target "$target" "${jobs[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "$name could not be built (its last lines are above; all are in $log)"
  fi
}

build_sources() {
  local made=$site/made
  mkdir -p "$made/include" "$made/lib"
  local spm
  spm=$(echo "$site"/sources/sentencepiece-*)
  build_source sentencepiece "$spm" sentencepiece-static -DSPM_ENABLE_SHARED=OFF -DSPM_ENABLE_TCMALLOC=OFF
  cp "$spm/src/sentencepiece_processor.h" "$made/include/"
  cp "$site/build/sentencepiece/src/libsentencepiece.a" "$made/lib/"
  touch "$made/.sentencepiece"
  local utf8proc
  utf8proc=$(echo "$site"/sources/utf8proc-*)
  build_source utf8proc "$utf8proc" utf8proc -DBUILD_SHARED_LIBS=OFF
  cp "$utf8proc/utf8proc.h" "$made/include/"
  cp "$site/build/utf8proc/libutf8proc.a" "$made/lib/"
  touch "$made/.utf8proc"
}

# LibTorch's wheel is for CUDA. Its CPU half works alone.
keep_cpu_half() {
  rm -f "$site"/torch/lib/libtorch_cuda*.so "$site"/torch/lib/libc10_cuda.so "$site"/torch/lib/libtorch_nvshmem.so
}

configure_prefix() {
  local options=(-S "$project" -B "$prefix_build" -G Ninja "-DCMAKE_MAKE_PROGRAM=$ninja" -DCMAKE_BUILD_TYPE=Release -DWAN_BUILD_TESTS=OFF
    "-DCMAKE_INSTALL_PREFIX=$prefix" -DCMAKE_INSTALL_LIBDIR=lib "-DWAN_TORCH_ROOT=$site/torch"
    "-DCMAKE_PREFIX_PATH=$site/made;$site/cmeel.prefix;$site/nlohmann_json"
    "-DWAN_INSTALL_ALSO=$(echo "$site"/cmeel.prefix/lib/libboost_program_options.so.*)")
  if [ "$cpu_only" = yes ]; then
    options+=(-DWAN_CUDA=OFF)
  else
    options+=(-DWAN_CUDA=ON "-DCMAKE_CUDA_COMPILER=$nvcc" "-DWAN_FLASHINFER_ROOT=$site/flashinfer/data")
  fi
  # A library of an earlier configuration may be gone.
  rm -f "$prefix_build/CMakeCache.txt"
  "$cmake" "${options[@]}" >"$site/configure.log" 2>&1 || {
    cat "$site/configure.log" >&2
    die "configuring failed (the output is above)"
  }
  sed -n '/DEPENDENCY/,/This build is for/p' "$site/configure.log"
}

build_prefix() {
  [ "$(uname -m)" = x86_64 ] || die "the wheels are for x86-64; on $(uname -m), configure by hand: docs/cluster.md"
  local started_s=$SECONDS
  python_of_archives unpack "$archives" "$site" "${groups[@]}"
  cmake=$site/cmake/data/bin/cmake
  ninja=$(echo "$site"/ninja-*.data/scripts/ninja)
  export CUDAHOSTCXX=${CUDAHOSTCXX:-${CXX:-}}
  [ -n "$CUDAHOSTCXX" ] || unset CUDAHOSTCXX
  # nvcc of the wheels looks for its libraries in lib64.
  [ ! -d "$site/nvidia/cu13/bin" ] || ln -sfn lib "$site/nvidia/cu13/lib64"
  build_sources
  [ "$cpu_only" = no ] || keep_cpu_half
  configure_prefix
  "$cmake" --build "$prefix_build" --target wan_batch_program wan_bench wan_doctor_program wan "${jobs[@]}" ||
    die "the build failed (the output is above)"
  # Hard links where the file system has them: LibTorch is then on the disk once.
  "$cmake" -DWAN_LINK_TORCH=ON -P "$prefix_build/cmake_install.cmake" >"$site/install.log" ||
    die "installing into $prefix failed (its last lines are above)"
  say "installed: $prefix/bin, after $((SECONDS - started_s)) s; $(du -sh "$prefix" | cut -f 1)"
}
