# shellcheck shell=bash
# shellcheck disable=SC2154  # project: set by the script that sources this
# Shared by the batch scripts of this folder, which source it. Do not run it. README.md describes the jobs for their users.
#
# Settings. All are environment variables, which sbatch passes to the job:
#
#   WAN_PROJECT          the checkout (default: where the submitted script lies, else the folder that sbatch was started in)
#   WAN_BATCH            the program (default: build/bin/wan_batch of the checkout, bin/wan_batch of the prefix in which the script is
#                        installed, else wan_batch of PATH)
#   WAN_CKPT_DIR         checkpoint if neither the arguments nor the file of --config name one (default: the checkpoint that
#                        jobs/model_cache.py downloaded, if there is one)
#   WAN_LAUNCHER         srun or mpirun (default: srun if `srun --mpi=list` names pmix, else mpirun)
#   WAN_MPI              srun's --mpi (default: pmix)
#   WAN_BIND             gpu: the ranks of a node divide all of the job's cores there, those nearest to a rank's GPU first; cores: each
#                        rank is bound to its own --cpus-per-task cores; none: the ranks of a node share the job's cores (default: gpu)
#   WAN_LAUNCH_OPTIONS   more options of srun or mpirun, separated by blanks
#   WAN_MODULES          environment modules to load first, separated by blanks (default: none)
#   WAN_IMAGE            run the program from this container image, Apptainer's or Charliecloud's (default: none); WAN_BATCH is then the
#                        program's path in the image (default: /opt/wan_batch/bin/wan_batch)
#   WAN_IMAGE_OPTIONS    more options of `apptainer exec` or ch-run, separated by blanks
#   WAN_SCRATCH          folder in which the job makes its scratch folder; it is removed at the end (default: SLURM_TMPDIR, TMPDIR or /tmp)
#   WAN_REQUEUE          on: a job that had to stop and gained at least one step is requeued; off: it ends (default: on)
#   WAN_MAX_STARTS       the job ends after so many starts (default: no bound)
#   WAN_MAX_CHAIN_HOURS  the job ends when its starts together have run for so many hours, 24 or 1.5 (default: no bound)
#
# A variable that begins with WAN_ and is no setting of the project ends the job (lib/names.sh has the list).
#
# The scripts set these variables if you have not set them: OMP_NUM_THREADS (--cpus-per-task), NCCL_DEBUG (WARN: NCCL says why it
# fails), and for jobs of one node TMPDIR (the scratch folder). All other NCCL_, OMPI_MCA_, PMIX_MCA_ and UCX_ variables stay as they are.
#
# Exit codes are those of wan_batch. A job that was told to stop ends with 85 if it can continue: it is requeued unless the log says why
# not. It ends with 1 if it gained no step since its start, because a requeue would repeat that, or if a bound of the chain is reached.

stopped_early=85  # of wan_batch: ExitCode::stopped_early

# shellcheck source=slurm/lib/names.sh
. "$project/slurm/lib/names.sh"
# shellcheck source=slurm/lib/places.sh
. "$project/slurm/lib/places.sh"
# shellcheck source=slurm/lib/image.sh
. "$project/slurm/lib/image.sh"
# shellcheck source=slurm/lib/ledger.sh
. "$project/slurm/lib/ledger.sh"
# shellcheck source=slurm/lib/watch.sh
. "$project/slurm/lib/watch.sh"
# shellcheck source=slurm/lib/requeue.sh
. "$project/slurm/lib/requeue.sh"

say() { printf '%s: %s\n' "${SLURM_JOB_NAME:-slurm}" "$*"; }

die() {
  printf '%s: error: %s\n' "${SLURM_JOB_NAME:-slurm}" "$*" >&2
  exit 2
}

# Prints the words as one line that a shell reads back as the same words.
quoted() {
  local word line=""
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,+@%^-]+$ ]]; then line+=" $word"; else line+=" '${word//\'/\'\\\'\'}'"; fi
  done
  printf '%s' "${line# }"
}

# has_option NAME ARGUMENT...: whether wan_batch's --NAME is among the arguments, in either spelling.
has_option() {
  local name=$1 argument
  shift
  for argument in "$@"; do
    argument=${argument//_/-}
    [[ $argument != "--$name" && $argument != "--$name="* ]] || return 0
  done
  return 1
}

load_modules() {
  [ -n "${WAN_MODULES-}" ] || return 0
  local file names
  for file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh; do
    if ! declare -F module >/dev/null && [ -r "$file" ]; then
      set +eu  # not written for these
      # shellcheck disable=SC1090
      . "$file"
      set -eu
    fi
  done
  declare -F module >/dev/null || die "WAN_MODULES is set and there is no module command; source your site's set-up of modules before sbatch"
  read -ra names <<<"$WAN_MODULES"
  say "modules: ${names[*]}"
  set +eu
  module load "${names[@]}"
  local code=$?
  set -eu
  [ $code -eq 0 ] || die "module load ${names[*]} failed (its message is above); correct WAN_MODULES"
}

# find_program NAME VARIABLE: prints the path of a program of the project. VARIABLE can name another program.
find_program() {
  local name=$1 knob=$2
  if [ -n "${WAN_IMAGE-}" ]; then
    printf '%s' "${!knob:-$program_in_image/$name}"  # choose_image starts it once
  elif [ -n "${!knob-}" ]; then
    [ -x "${!knob}" ] || die "$knob is '${!knob}', which is no program"
    printf '%s' "${!knob}"
  elif [ -x "$project/build/bin/$name" ]; then
    printf '%s' "$project/build/bin/$name"
  elif [ -x "$project/../../bin/$name" ]; then
    realpath -- "$project/../../bin/$name"  # of a prefix, where this script lies in share/wan_batch/slurm
  elif [ -e "$project/build" ] && ! [ -x "$project/build" ]; then
    die "$(id -un) may not look into $project/build; its owner can allow it (chmod -R go+rX), or set $knob"
  else
    command -v "$name" ||
      die "there is no $name, neither $project/build/bin/$name (jobs/build.sh makes it) nor one on PATH; build it, or set $knob"
  fi
}

# If the loader did not find a library, every rank would end with a message that contains only the library's name.
require_libraries() {
  [ -z "${WAN_IMAGE-}" ] || return 0
  local missing
  missing=$(ldd "$1" 2>/dev/null | sed -nE 's/^[[:space:]]*([^ ]+) => not found.*/\1/p' | sort -u | paste -sd' ') || missing=""
  [ -z "$missing" ] || die "$1 does not find: $missing. Load the modules that it was built with, MPI's among them: WAN_MODULES=\"openmpi/...\"" \
    "(now: ${WAN_MODULES:-none})"
}

require_word() {
  local knob=$1 value=$2 word
  shift 2
  for word in "$@"; do [ "$value" != "$word" ] || return 0; done
  die "$knob is '$value'; it can be: $*"
}

# kinds_of_srun TEXT: the names in the answer of `srun --mpi=list`, which has a heading.
kinds_of_srun() { { grep -vE '\.\.\.|:$' <<<"$1" || true; } | xargs; }

choose_launcher() {
  local kinds usual=mpirun
  launcher=${WAN_LAUNCHER-} launcher_kind=${WAN_MPI:-pmix}
  kinds=$(srun --mpi=list 2>&1) || kinds=""
  if [ "$launcher" != mpirun ] && [ -n "${WAN_MPI-}" ] && [ -n "$kinds" ] && ! grep -qw -- "$WAN_MPI" <<<"$kinds"; then
    die "WAN_MPI is '$WAN_MPI', which srun does not have; \`srun --mpi=list\` names: $(kinds_of_srun "$kinds")"
  fi
  # Without PMIx, srun would start as many runs of one rank as there are tasks.
  if [ -n "${SLURM_JOB_ID-}" ] && grep -qw -- "$launcher_kind" <<<"$kinds"; then usual=srun; fi
  launcher=${launcher:-$usual}
  require_word WAN_LAUNCHER "$launcher" srun mpirun
  if [ "$launcher" = mpirun ]; then launcher_kind=""; fi
  if ! command -v "$launcher" >/dev/null; then
    [ "$launcher" = srun ] || [ -n "${WAN_LAUNCHER-}" ] || [ -z "$kinds" ] ||
      die "srun has no $launcher_kind (\`srun --mpi=list\` names: $(kinds_of_srun "$kinds")), and there is no mpirun on PATH." \
        "Name the program's MPI in WAN_MODULES, or one of these in WAN_MPI"
    die "there is no $launcher on PATH; name the module that has it in WAN_MODULES, or set WAN_LAUNCHER"
  fi
  bind=${WAN_BIND:-gpu}
  require_word WAN_BIND "$bind" gpu cores none
  export WAN_BIND=$bind  # for the program, which divides the cores if it is gpu
}

# launch_words RANKS RANKS_PER_NODE: sets the array `launch` to the words before the program's.
# Every rank sees all GPUs of its node and takes the one of its local rank: --gpus-per-task would hide the peers from each other.
launch_words() {
  local ranks=$1 per_node=$2 options=() nodes
  nodes=$(((ranks + per_node - 1) / per_node))
  read -ra options <<<"${WAN_LAUNCH_OPTIONS-}"
  if [ "$launcher" = srun ]; then
    launch=(srun --export=ALL "--mpi=$launcher_kind" "--nodes=$nodes" "--ntasks=$ranks" "--ntasks-per-node=$per_node" --kill-on-bad-exit=1)
    # With --cpus-per-task, srun would keep the job's other cores from the ranks.
    if [ "$bind" = cores ]; then launch+=("--cpus-per-task=$cores_per_rank" --cpu-bind=cores); else launch+=(--cpu-bind=none); fi
  else
    launch=(mpirun -np "$ranks")
    if [ "$bind" = cores ]; then
      launch+=(--map-by "ppr:$per_node:node:PE=$cores_per_rank" --bind-to core)
    else
      launch+=(--map-by "ppr:$per_node:node" --bind-to none)
    fi
  fi
  launch+=("${options[@]}" "${in_image[@]}")
}

clean_up() {
  stop_watcher
  remove_scratch
}

remove_scratch() { [ -z "${scratch-}" ] || rm -rf -- "$scratch"; }

make_scratch() {
  local parent=${WAN_SCRATCH:-${SLURM_TMPDIR:-${TMPDIR:-/tmp}}}
  scratch=$(mktemp -d "$parent/wan_${SLURM_JOB_ID:-0}_XXXXXX") || die "no scratch folder can be made in $parent; set WAN_SCRATCH"
  trap clean_up EXIT
  # Other nodes do not have this folder.
  if [ "${SLURM_JOB_NUM_NODES:-1}" -eq 1 ]; then export TMPDIR=$scratch; fi
}

# Unsets variables that sbatch, or a shell inside another job, has left in the environment. They would keep srun (also under mpirun) from
# starting the ranks with this script's settings.
drop_contradictions() {
  # After `sbatch --export=NONE` the ranks would have neither the modules nor OMP_NUM_THREADS.
  export SLURM_EXPORT_ENV=ALL
  # A step has the job's memory without any of these variables, and srun refuses two of them together.
  unset SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU SLURM_MEM_PER_NODE
  # The core binding of the shell in which sbatch was started.
  unset SLURM_CPU_BIND SLURM_CPU_BIND_LIST SLURM_CPU_BIND_TYPE SLURM_CPU_BIND_VERBOSE
  # launch_words gives the ranks their cores. With one of these, srun would keep the rest of the job's cores from them.
  unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_TRES_PER_TASK
}

prepare_job() {
  child="" watcher="" stop_signal="" stopped_at=0 interrupted=0 end_code=$stopped_early
  require_known_names
  require_word WAN_REQUEUE "${WAN_REQUEUE:-on}" on off
  require_bounds
  read_places
  drop_contradictions
  load_modules
  choose_launcher
  make_scratch
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$cores_per_rank}
  export NCCL_DEBUG=${NCCL_DEBUG-WARN}
  say "job ${SLURM_JOB_ID:-(none)} on ${SLURM_JOB_NODELIST:-$(hostname)}, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date -u +%FT%TZ)"
}

# config_has_checkpoint ARGUMENT...: whether the file of --config among these arguments of wan_batch names a checkpoint.
config_has_checkpoint() {
  local argument file="" is_next=no
  for argument in "$@"; do
    if [ "$is_next" = yes ]; then file=$argument is_next=no; fi
    # wan_batch accepts shortened names.
    case $argument in
      --conf | --confi | --config) is_next=yes ;;
      --conf=* | --confi=* | --config=*) file=${argument#*=} ;;
    esac
  done
  # No other option begins with "ck". A byte order mark may precede the name.
  [ -r "$file" ] && grep -qE '^[^A-Za-z#]*ck[A-Za-z_-]*[[:space:]]*=' "$file"
}

# default_checkpoint ARGUMENT...: sets checkpoint_words to the --ckpt-dir to be added to these arguments of wan_batch, if any.
default_checkpoint() {
  local folder=${WAN_CKPT_DIR-}
  checkpoint_words=()
  if has_option ckpt-dir "$@" || config_has_checkpoint "$@"; then return; fi
  if [ -z "$folder" ]; then
    folder=${WAN_MODEL_CACHE:-${HOME-}/.cache/wan_batch}/Wan2.2-I2V-A14B
    [ -d "$folder" ] || return 0
  fi
  checkpoint_words=(--ckpt-dir "$folder")
}

# ask_places ARGUMENT...: asks the program which output folder and which device these arguments mean. Sets output_folder and device; both
# are empty if the program does not say, for example because the arguments are wrong. It will say so itself, then.
ask_places() {
  local answer
  answer=$(timeout 120 "${in_image[@]}" "$program" places "$@" 2>/dev/null </dev/null) || answer=""
  output_folder=$(sed -n 's/^output_dir=//p' <<<"$answer" | head -n 1)
  device=$(sed -n 's/^device=//p' <<<"$answer" | head -n 1)
}

# batch_job ARGUMENT...: wan_batch with these arguments on all tasks of the job.
batch_job() {
  local program launch
  prepare_job
  catch_stops
  program=$(find_program wan_batch WAN_BATCH)
  require_libraries "$program"
  default_checkpoint "$@"
  choose_image "${checkpoint_words[@]}" "$@"
  read_tasks_per_node
  ask_places "${checkpoint_words[@]}" "$@"
  require_work_for_all "$device"
  say_idle_cores
  show_all_gpus
  batch_arguments=("$@")
  open_ledger "$output_folder"
  require_room_in_chain
  export WAN_JOB_START=$start_record
  launch_words "$ranks" "$ranks_per_node"
  start_watcher
  run_ranks "${launch[@]}" "$program" "${checkpoint_words[@]}" "$@"
  stop_watcher
  finish_job
}
