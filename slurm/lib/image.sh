# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # read and set by the other files of slurm/
# The program from a container image (WAN_IMAGE). Source it. The launcher stays outside: srun speaks PMIx with the image's MPI library, and
# mpirun must be of the same major version as that library.

program_in_image=/opt/wan_batch/bin  # containers/install.sh
in_image=()

# choose_image ARGUMENT...: sets in_image to the words that start a program inside the image; none without WAN_IMAGE. The arguments are
# those of the program: the folders that they name are made visible.
choose_image() {
  local image=${WAN_IMAGE-} runtime options=() folders=() folder said
  if [ -z "$image" ]; then
    [ -z "${WAN_IMAGE_OPTIONS-}" ] || die "WAN_IMAGE_OPTIONS is set, and WAN_IMAGE is not"
    return
  fi
  [ -r "$image" ] || die "WAN_IMAGE is '$image', which cannot be read; it can be an image of Apptainer (FILE.sif), or one of Charliecloud" \
    "(a folder, FILE.sqfs)"
  read -ra options <<<"${WAN_IMAGE_OPTIONS-}"
  mapfile -t folders < <(named_folders "$@")
  if { [ -d "$image" ] && [ ! -e "$image/.singularity.d" ]; } || [[ $image == *.sqfs || $image == *.squashfs ]]; then
    runtime=$(image_runtime ch-run)
    export USER=${USER:-$(id -un)}  # ch-run wants it
    # ch-run would show the folder TMPDIR as the image's /tmp.
    in_image=(env -u TMPDIR "$runtime" --unset-env=LD_LIBRARY_PATH --unset-env=LD_PRELOAD "--cd=$PWD" ${TMPDIR:+"--set-env=TMPDIR=$TMPDIR"})
    for folder in "${folders[@]}"; do
      # ch-run itself shows /tmp, and has no place in an image for a folder that the image lacks.
      [[ $folder/ != /tmp/* ]] || continue
      [ ! -d "$image" ] || [ -d "$image$folder" ] || die "the image has no place for $folder; make it once: mkdir -p '$image$folder'"
      in_image+=("--bind=$folder:$folder")
    done
    in_image+=("${options[@]}" "$image" --)
  else
    runtime=$(image_runtime apptainer singularity)
    in_image=("$runtime" exec)
    ((gpus_per_node == 0)) || in_image+=(--nv)
    for folder in "${folders[@]}"; do in_image+=("--bind=$folder"); done
    in_image+=("--pwd=$PWD" "${options[@]}" "$image")
  fi
  # The ranks of a node do not share a user namespace, so they cannot read each other's memory. PMIx's shared memory lies in folders of
  # Slurm that an image does not show.
  export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism-none}
  export PMIX_MCA_gds=${PMIX_MCA_gds-hash}
  said=$("${in_image[@]}" "$program" --version 2>&1 </dev/null) ||
    die "the program $program does not run in the image $image: $(tail -n 3 <<<"$said" | paste -sd' ')"
  say "image: $image, $(head -n 1 <<<"$said")"
}

# image_runtime NAME...: prints the first of these programs that is there.
image_runtime() {
  local name
  for name in "$@"; do
    if command -v "$name" >/dev/null; then
      printf '%s' "$name"
      return
    fi
  done
  die "the image '$WAN_IMAGE' needs $1, which is not on PATH; name the module that has it in WAN_MODULES"
}

# named_folders ARGUMENT...: prints the folders that the program must see: the one in which the job was started, the scratch folder of a job
# of one node, and those that the arguments name. A file, or a path that is not there yet, counts as the nearest folder that is there. No
# folder lies in another one.
named_folders() {
  local argument path paths=("$PWD")
  # Other nodes do not have the scratch folder.
  [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ] || paths+=("$scratch")
  for argument in "$@"; do
    [[ $argument != --*=* ]] || argument=${argument#*=}
    case $argument in /*) paths+=("$argument") ;; esac
  done
  for path in "${paths[@]}"; do
    while [ -n "$path" ] && [ ! -d "$path" ]; do path=${path%/*}; done
    path=$(realpath -- "${path:-/}") || continue
    # The system's folders stay those of the image.
    case $path in
      / | /bin | /boot | /dev | /etc | /lib | /lib64 | /opt | /proc | /root | /run | /sbin | /sys | /usr | /usr/* | /var) ;;
      *) printf '%s\n' "$path" ;;
    esac
  done | sort -u | awk '{ for (i in kept) if (index($0 "/", kept[i] "/") == 1) next; kept[NR] = $0; print }'
}
