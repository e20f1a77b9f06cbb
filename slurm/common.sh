# shellcheck shell=bash
# shellcheck disable=SC2154  # project: set by the script that sources this
# Shared by the batch scripts of this folder, which source it. Do not run it. README.md describes the jobs for their users.
#
# Settings. All are environment variables, which sbatch passes to the job:
#
#   WAN_PROJECT          the checkout (default: where the submitted script lies, else the folder that sbatch was started in)
#   WAN_BATCH            the program (default: build/bin/wan_batch of the checkout, else wan_batch of PATH)
#   WAN_CKPT_DIR         checkpoint if neither the arguments nor the file of --config name one (default: the checkpoint that
#                        jobs/model_cache.py downloaded, if there is one)
#   WAN_LAUNCHER         srun or mpirun (default: srun if `srun --mpi=list` names pmix, else mpirun)
#   WAN_MPI              srun's --mpi (default: pmix)
#   WAN_BIND             cores: each rank is bound to its own --cpus-per-task cores; none: the ranks of a node share the job's cores
#                        (default: cores with srun, whose CPUs are Slurm's; none with mpirun, which may number cores differently)
#   WAN_LAUNCH_OPTIONS   more options of srun or mpirun, separated by blanks
#   WAN_MODULES          environment modules to load first, separated by blanks (default: none)
#   WAN_SCRATCH          folder in which the job makes its scratch folder; it is removed at the end (default: SLURM_TMPDIR, TMPDIR or /tmp)
#   WAN_REQUEUE          on: a job that had to stop and gained at least one step is requeued; off: it ends (default: on)
#
# The scripts set these variables if you have not set them: OMP_NUM_THREADS (--cpus-per-task), NCCL_DEBUG (WARN: NCCL says why it
# fails), and for jobs of one node TMPDIR (the scratch folder). All other NCCL_, OMPI_MCA_, PMIX_MCA_ and UCX_ variables stay as they are.
#
# Exit codes are those of wan_batch. A job that was told to stop ends with 85 if it can continue: it is requeued unless the log says why
# not. It ends with 1 if it gained no step since its start, because a requeue would repeat that.

stopped_early=85  # of wan_batch: ExitCode::stopped_early

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
  for file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do
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
  if [ -n "${!knob-}" ]; then
    [ -x "${!knob}" ] || die "$knob is '${!knob}', which is no program"
    printf '%s' "${!knob}"
  elif [ -x "$project/build/bin/$name" ]; then
    printf '%s' "$project/build/bin/$name"
  else
    command -v "$name" ||
      die "there is no $name: neither $project/build/bin/$name (jobs/build.sh makes it) nor on PATH; or set $knob"
  fi
}

# If the loader did not find a library, every rank would end with a message that contains only the library's name.
require_libraries() {
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

choose_launcher() {
  launcher=${WAN_LAUNCHER-}
  if [ -z "$launcher" ]; then
    launcher=mpirun
    local kinds
    kinds=$(srun --mpi=list 2>&1) || kinds=""
    # Without PMIx, srun would start as many runs of one rank as there are tasks.
    if [ -n "${SLURM_JOB_ID-}" ] && grep -qw "${WAN_MPI:-pmix}" <<<"$kinds"; then launcher=srun; fi
  fi
  require_word WAN_LAUNCHER "$launcher" srun mpirun
  command -v "$launcher" >/dev/null || die "there is no $launcher on PATH; name the module that has it in WAN_MODULES, or set WAN_LAUNCHER"
  local usual=none
  [ "$launcher" = mpirun ] || usual=cores
  bind=${WAN_BIND:-$usual}
  require_word WAN_BIND "$bind" cores none
}

# launch_words RANKS RANKS_PER_NODE: sets the array `launch` to the words before the program's.
# Every rank sees all GPUs of its node and takes the one of its local rank: --gpus-per-task would hide the peers from each other.
launch_words() {
  local ranks=$1 per_node=$2 options=()
  local nodes=$(((ranks + per_node - 1) / per_node)) cores=${SLURM_CPUS_PER_TASK:-1}
  read -ra options <<<"${WAN_LAUNCH_OPTIONS-}"
  if [ "$launcher" = srun ]; then
    launch=(srun --export=ALL "--mpi=${WAN_MPI:-pmix}" "--nodes=$nodes" "--ntasks=$ranks" "--ntasks-per-node=$per_node" "--cpus-per-task=$cores"
      --kill-on-bad-exit=1)
    if [ "$bind" = cores ]; then launch+=(--cpu-bind=cores); else launch+=(--cpu-bind=none); fi
  else
    launch=(mpirun -np "$ranks")
    if [ "$bind" = cores ]; then
      launch+=(--map-by "ppr:$per_node:node:PE=$cores" --bind-to core)
    else
      launch+=(--map-by "ppr:$per_node:node" --bind-to none)
    fi
  fi
  launch+=("${options[@]}")
}

# Sets ranks_per_node: 8 for Slurm's "8(x2)".
read_tasks_per_node() {
  local text=${SLURM_TASKS_PER_NODE:-1}
  [[ $text != *,* ]] || die "the nodes of this job have different numbers of tasks ($text); ask for --ntasks-per-node"
  ranks_per_node=${text%%(*}
}

remove_scratch() { [ -z "${scratch-}" ] || rm -rf -- "$scratch"; }

make_scratch() {
  local parent=${WAN_SCRATCH:-${SLURM_TMPDIR:-${TMPDIR:-/tmp}}}
  scratch=$(mktemp -d "$parent/wan_${SLURM_JOB_ID:-0}_XXXXXX") || die "no scratch folder can be made in $parent; set WAN_SCRATCH"
  trap remove_scratch EXIT
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
}

prepare_job() {
  child="" stop_signal="" stopped_at=0 interrupted=0
  require_word WAN_REQUEUE "${WAN_REQUEUE:-on}" on off
  drop_contradictions
  load_modules
  choose_launcher
  make_scratch
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
  export NCCL_DEBUG=${NCCL_DEBUG-WARN}
  say "job ${SLURM_JOB_ID:-(none)} on ${SLURM_JOB_NODELIST:-$(hostname)}, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date -u +%FT%TZ)"
}

# From now on a signal to this shell stops the ranks in order and does not end the shell.
catch_stops() {
  trap 'pass_on_stop USR1' USR1
  trap 'pass_on_stop TERM' TERM
}

# Sends USR1 to the launcher, which passes it on to the ranks, and to the launcher's own child ranks, because mpirun of Open MPI 4.1.6
# did not always pass it on. One rank that receives it stops all. With TERM, mpirun would kill the ranks a second later.
signal_ranks() {
  local rank ranks=()
  kill -USR1 "$child" 2>/dev/null || true
  { read -ra ranks <"/proc/$child/task/$child/children"; } 2>/dev/null || true
  for rank in "${ranks[@]}"; do
    # Not to the helpers through which a launcher reaches other nodes, because they would end.
    if [ "/proc/$rank/exe" -ef "$program" ]; then kill -USR1 "$rank" 2>/dev/null || true; fi
  done
}

pass_on_stop() {
  [ -n "$stop_signal" ] || stopped_at=$SECONDS
  stop_signal=$1
  interrupted=1
  say "told to stop (SIG$1) after $SECONDS s; the ranks finish the step in hand and save"
  [ -z "$child" ] || signal_ranks
}

# run_ranks COMMAND...: prints it, runs it under the traps, and sets exit_code.
run_ranks() {
  say "run: $(quoted "$@")"
  if [ -n "$stop_signal" ]; then
    exit_code=$stopped_early
    return
  fi
  # In the background, because a trap must wait for a command in the foreground.
  "$@" </dev/null &
  child=$!
  [ -z "$stop_signal" ] || signal_ranks
  while :; do
    interrupted=0
    exit_code=0
    wait "$child" || exit_code=$?
    [ "$interrupted" -eq 1 ] || break
  done
  child=""
}

# recorded NAME: prints a whole number of wan_batch's run record; 0 if there is none.
recorded() {
  local number=""
  [ ! -r "$record" ] || number=$(sed -nE "s/.*\"$1\": *([0-9]+).*/\1/p" "$record" | head -n 1)
  printf '%s' "${number:-0}"
}

# Ends the job after wan_batch: by its exit code, or by a requeue.
finish_job() {
  [ -n "$stop_signal" ] || stopped_at=$SECONDS
  # A launcher that ends the other ranks after the first rank's exit may report their exit codes instead.
  if [ "$(recorded exit_code)" -eq "$stopped_early" ]; then exit_code=$stopped_early; fi
  if [ "$exit_code" -ne "$stopped_early" ] && is_cut_short && was_preempted; then
    say "exit code $exit_code: the ranks ended before they could stop in order; what was saved before is kept"
    requeue
    exit "$stopped_early"
  fi
  if [ "$exit_code" -ne "$stopped_early" ]; then
    [ -z "$stop_signal" ] || [ "$exit_code" -lt 128 ] || say "the run ended before it could stop in order; what was saved before is kept"
    say "exit code $exit_code after $SECONDS s"
    exit "$exit_code"
  fi
  if [ -r "$record" ] && grep -q '"stopped_by": *"stop_file"' "$record"; then
    say "not requeued: the file STOP in the output folder stopped this run; remove it, and the same sbatch command goes on from here"
    exit "$stopped_early"
  fi
  local steps made
  steps=$(recorded steps_gained)
  made=$(recorded made)
  if [ "$steps" -lt 1 ] && [ "$made" -lt 1 ] && was_preempted; then
    say "no step was gained since this start, but the job was preempted: the next start has its time"
  elif [ "$steps" -lt 1 ] && [ "$made" -lt 1 ]; then
    say "not requeued: no step was gained since this start, so the next one would end alike. Ask for more time (--time), or for a later" \
      "stop (--signal=B:USR1@SECONDS)"
    exit 1
  fi
  say "stopped early: $steps steps and $made items gained"
  requeue
  exit "$stopped_early"
}

# The id of an array's task. SLURM_JOB_ID is not unique: one task's is also the id of the whole array.
job_id() {
  if [ -n "${SLURM_ARRAY_TASK_ID-}" ]; then printf '%s' "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; else printf '%s' "${SLURM_JOB_ID-}"; fi
}

# job_field NAME: prints a field of the job's record, or nothing if the record lacks it. A controller that is down gives no answer, so
# the function asks again until the notice is used up.
job_field() {
  local pause=1 record
  while :; do
    record=$(scontrol show job -o "$(job_id)" 2>/dev/null) || record=""
    if [ -n "$record" ] || ! has_time_left "$pause"; then break; fi
    sleep "$pause"
    pause=$((pause < 10 ? 2 * pause : 10))
  done
  # The first field of that name, because the job's arguments come last and may contain anything.
  { grep -oE "(^|[[:space:]])$1=[^[:space:]]*" <<<"$record" || true; } | sed -nE '1s/^[^=]*=//p'
}

# has_time_left SECONDS: whether the job will still run after this time. Slurm ends it at its time limit. If the limit is not known, the
# function assumes the scripts' own notice of three minutes.
has_time_left() {
  local end=${SLURM_JOB_END_TIME-} reserve=5
  if [[ $end =~ ^[0-9]+$ ]] && [ "$stop_signal" != TERM ]; then
    (($(date +%s) + $1 + reserve < end)) && ((SECONDS - stopped_at < 600))
  else
    ((SECONDS - stopped_at + $1 + reserve < 180))
  fi
}

# Whether the exit code means that a signal, or the loss of the launcher, ended the ranks.
is_cut_short() {
  case $exit_code in
    0 | 2 | 3) return 1 ;;
    *) [ -n "$stop_signal" ] || [ "$exit_code" -ge 128 ] ;;
  esac
}

# Whether Slurm has preempted the job. A job that runs normally has PreemptTime=None.
was_preempted() {
  local time
  [ -n "$(job_id)" ] || return 1
  time=$(job_field PreemptTime)
  [[ $time =~ ^[0-9] ]]
}

# requeue_now ID: requeues the job, and asks again if the controller is down. Prints Slurm's message if Slurm refuses.
requeue_now() {
  local answer pause=1 tries=0
  while :; do
    if answer=$(scontrol requeue "$1" 2>&1); then return; fi
    tries=$((tries + 1))
    # Three times, whatever Slurm answers: a controller that is stopping or starting gives various answers.
    if [ "$tries" -ge 3 ] && [ -n "$answer" ] && ! grep -qiE 'contact|connect|communicat|time.?out|timed out|respon' <<<"$answer"; then break; fi
    has_time_left "$pause" || break
    sleep "$pause"
    pause=$((pause < 10 ? 2 * pause : 10))
  done
  printf '%s' "$answer"
}

requeue() {
  local how="the same sbatch command goes on from here" id answer state
  id=$(job_id)
  if [ -z "$id" ]; then
    say "not requeued: this is no batch job; $how"
  elif [ "${WAN_REQUEUE:-on}" = off ]; then
    say "not requeued: WAN_REQUEUE is off; $how"
  elif [ "$stop_signal" = TERM ] && ! was_preempted; then
    say "not requeued: SIGTERM means that somebody wants the job to end; $how"
  elif state=$(job_field JobState) && [ -n "$state" ] && [ "$state" != RUNNING ]; then
    say "not requeued: the job is being cancelled (its state is $state); $how"
  else
    [ -n "$state" ] || say "Slurm's controller does not answer"
    # Slurm ends this script as soon as it has requeued the job.
    trap '' USR1 TERM
    remove_scratch
    say "requeueing job $id"
    answer=$(requeue_now "$id")
    [ -z "$answer" ] || say "not requeued: Slurm says: $answer; $how"
  fi
}

# config_has_checkpoint ARGUMENT...: whether the file of --config among these arguments of wan_batch names a checkpoint.
config_has_checkpoint() {
  local argument file="" is_next=no
  for argument in "$@"; do
    if [ "$is_next" = yes ]; then file=$argument is_next=no; fi
    case $argument in
      --config) is_next=yes ;;
      --config=*) file=${argument#--config=} ;;
    esac
  done
  # wan_batch accepts shortened names; no other option begins with "ck". A byte order mark may precede the name.
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

# batch_job ARGUMENT...: wan_batch with these arguments on all tasks of the job.
batch_job() {
  local program launch
  prepare_job
  catch_stops
  program=$(find_program wan_batch WAN_BATCH)
  require_libraries "$program"
  default_checkpoint "$@"
  # Not run.json of the output folder, because several jobs and array tasks may share that folder.
  record=$scratch/run.json
  read_tasks_per_node
  launch_words "${SLURM_NTASKS:-1}" "$ranks_per_node"
  run_ranks "${launch[@]}" "$program" --run-record "$record" "${checkpoint_words[@]}" "$@"
  finish_job
}
