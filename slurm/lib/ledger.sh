# shellcheck shell=bash
# shellcheck disable=SC2154  # set by the other files of slurm/
# The record of a job's starts. Source it. It lies in the output folder, in .jobs/JOB (of an array's task: .jobs/ARRAY_TASK), because the
# next start may run on another node, and because somebody may empty /tmp. Start number N has there:
#
#   start-N             lines NAME=VALUE, written by the scripts; the last line of a name counts
#   start-N.mpi         the program has passed MPI_Init
#   start-N.error       the program ended the run because of an error, and not by a signal
#   start-N.run.json    the program's record of a run that ended in order
#   start-N.group-G.json  the progress of the program's group G

# The id of an array's task. SLURM_JOB_ID is not unique: one task's is also the id of the whole array.
job_id() {
  if [ -n "${SLURM_ARRAY_TASK_ID-}" ]; then printf '%s' "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; else printf '%s' "${SLURM_JOB_ID-}"; fi
}

# open_ledger OUTPUT_FOLDER: sets ledger, start_number and start_record. Without an output folder that can be written, the ledger lies in
# the scratch folder, and the job knows nothing about its earlier starts.
open_ledger() {
  local output=$1 id
  id=$(job_id)
  start_number=$((${SLURM_RESTART_COUNT:-0} + 1)) ledger="" made_output=no
  if [ -n "$output" ] && [ -n "$id" ]; then
    [ -e "$output" ] || made_output=yes
    if mkdir -p -- "$output/.jobs/$id" 2>/dev/null && [ -w "$output/.jobs/$id" ]; then ledger=$output/.jobs/$id; fi
  fi
  if [ -z "$ledger" ]; then
    ledger=$scratch/job
    mkdir -p -- "$ledger"
  fi
  # Slurm uses job ids again, and a job of the same id may have left its starts here.
  if [ "$start_number" -eq 1 ]; then rm -f -- "$ledger"/start-*; fi
  rm -f -- "$ledger/start-$start_number" "$ledger/start-$start_number".*
  start_record=$ledger/start-$start_number
  note start "$start_number"
  note began_s "$(job_began_s)"
  note gpus "$((gpus_per_node * job_nodes))"
  note command "$(resume_command)"
  note nodes "${SLURM_JOB_NODELIST:-$(hostname)}"
  note seen_s "$(date +%s)"
}

# resume_command: prints an sbatch command that goes on with this job's work. It asks for what this job got. An array's task becomes a job
# of its own. batch_arguments are the arguments of the program that its user gave.
resume_command() {
  local name words=() own=$script
  [ -n "${batch_arguments+set}" ] || return 0
  for name in "${wan_names[@]}"; do
    case $name in WAN_JOB_START | WAN_PROJECT | WAN_SHARDS | WAN_SLURM) continue ;; esac
    if [ -n "${!name-}" ] && { [ "$name" != WAN_BIND ] || [ "${!name}" != gpu ]; }; then words+=("$name=${!name}"); fi
  done
  words+=(sbatch)
  [ -z "${SLURM_JOB_ACCOUNT-}" ] || words+=("--account=$SLURM_JOB_ACCOUNT")
  [ -z "${SLURM_JOB_PARTITION-}" ] || words+=("--partition=$SLURM_JOB_PARTITION")
  words+=("--nodes=$job_nodes" "--ntasks-per-node=$ranks_per_node")
  ((gpus_per_node == 0)) || words+=("--gpus-per-node=$gpus_per_node")
  words+=("--cpus-per-task=$cores_per_rank")
  if [[ ${SLURM_JOB_END_TIME-} =~ ^[0-9]+$ ]]; then words+=("--time=$(((SLURM_JOB_END_TIME - $(job_began_s) + 59) / 60))"); fi
  [ "$own" != i2v_array.sh ] || own=i2v_2gpu.sh
  words+=("$(cd "$project" && pwd)/slurm/$own" "${batch_arguments[@]}")
  printf 'cd %s && %s' "$(quoted "${SLURM_SUBMIT_DIR:-$PWD}")" "$(quoted "${words[@]}")"
}

# Slurm counts the job's time from the start of the job, which is a little before the script's.
job_began_s() {
  local now
  now=$(date +%s)
  if [[ ${SLURM_JOB_START_TIME-} =~ ^[0-9]+$ ]] && ((SLURM_JOB_START_TIME <= now)); then
    printf '%s' "$SLURM_JOB_START_TIME"
  else
    printf '%s' "$((now - SECONDS))"
  fi
}

# A run that can use nothing leaves nothing behind.
discard_ledger() {
  [ -n "${ledger-}" ] && [ "$start_number" -eq 1 ] || return 0
  rm -f -- "$ledger"/start-* 2>/dev/null || true
  rmdir -- "$ledger" "${ledger%/*}" 2>/dev/null || true
  if [ "${made_output-}" = yes ]; then rmdir -- "${ledger%/.jobs/*}" 2>/dev/null || true; fi
}

# note NAME VALUE: adds a line to this start's record. A full disk must not end the job here.
note() { { printf '%s=%s\n' "$1" "$2" >>"$start_record"; } 2>/dev/null || true; }

# noted START NAME [DEFAULT]: prints a value of a start's record.
noted() {
  local value=""
  [ ! -r "$ledger/start-$1" ] || value=$(sed -n "s/^$2=//p" "$ledger/start-$1" | tail -n 1)
  printf '%s' "${value:-${3-}}"
}

# recorded NAME: prints a whole number of the program's run record; 0 if there is none.
recorded() {
  local number=""
  [ ! -r "$start_record.run.json" ] || number=$(sed -nE "s/.*\"$1\": *([0-9]+).*/\1/p" "$start_record.run.json" | head -n 1)
  printf '%s' "${number:-0}"
}

# progress_sum NAME: prints the sum of a whole number over the groups of this start.
progress_sum() {
  local file number sum=0
  for file in "$start_record".group-*.json; do
    [ -r "$file" ] || continue
    number=$(sed -nE "s/.*\"$1\": *([0-9]+).*/\1/p" "$file" | head -n 1)
    sum=$((sum + ${number:-0}))
  done
  printf '%d' "$sum"
}

# crashes_before: prints how many starts were requeued after a rank had died.
crashes_before() {
  local start count=0
  for ((start = 1; start < start_number; start++)); do
    if [ "$(noted "$start" ended_by)" = crash ]; then count=$((count + 1)); fi
  done
  printf '%d' "$count"
}

# chain_s: prints the running time of all starts in seconds. A start that was killed counts up to its last sign of life.
chain_s() {
  local start began ended sum=0
  for ((start = 1; start < start_number; start++)); do
    began=$(noted "$start" began_s 0)
    ended=$(noted "$start" ended_s "$(noted "$start" seen_s "$began")")
    sum=$((sum + ended - began))
  done
  printf '%d' "$((sum + $(date +%s) - $(noted "$start_number" began_s "$(date +%s)")))"
}

# chain_bound: prints the bound of the chain that has been reached, with its value; nothing if there is none. A chain is all starts of one
# Slurm job.
chain_bound() {
  local hours=${WAN_MAX_CHAIN_HOURS-}
  if [ -n "${WAN_MAX_STARTS-}" ] && ((start_number >= WAN_MAX_STARTS)); then
    printf 'WAN_MAX_STARTS is %s, and this was start %s' "$WAN_MAX_STARTS" "$start_number"
  elif [ -n "$hours" ] && (($(chain_s) >= $(seconds_of_hours "$hours"))); then
    printf 'WAN_MAX_CHAIN_HOURS is %s, and the starts of this job have run for %s s' "$hours" "$(chain_s)"
  fi
}

# seconds_of_hours HOURS: prints whole seconds; HOURS may have a fraction, "1.5".
seconds_of_hours() {
  local whole=${1%%.*} fraction=""
  [[ $1 != *.* ]] || fraction=${1#*.}
  fraction=${fraction}0000
  printf '%d' "$((10#${whole:-0} * 3600 + 10#${fraction:0:4} * 3600 / 10000))"
}

require_bounds() {
  [[ ${WAN_MAX_STARTS-1} =~ ^[1-9][0-9]{0,8}$ ]] || die "WAN_MAX_STARTS is '$WAN_MAX_STARTS'; it can be a whole number of 1 or more"
  [[ ${WAN_MAX_CHAIN_HOURS-1} =~ ^[0-9]{1,6}(\.[0-9]+)?$ ]] || die "WAN_MAX_CHAIN_HOURS is '$WAN_MAX_CHAIN_HOURS'; it can be a number of hours, 24 or 1.5"
}

# Slurm itself starts a job again after a preemption or the loss of a node, whatever the bounds are.
require_room_in_chain() {
  local bound=""
  if [ -n "${WAN_MAX_STARTS-}" ] && ((start_number > WAN_MAX_STARTS)); then
    bound="WAN_MAX_STARTS is $WAN_MAX_STARTS, and this is start $start_number"
  elif [ -n "${WAN_MAX_CHAIN_HOURS-}" ] && (($(chain_s) >= $(seconds_of_hours "$WAN_MAX_CHAIN_HOURS"))); then
    bound=$(chain_bound)
  fi
  [ -n "$bound" ] || return 0
  end_start bound 1
  say "the job ends here: $bound; the same sbatch command goes on from here"
  exit 1
}

# end_start REASON EXIT_CODE: notes how this start ended.
end_start() {
  note reason "$1"
  note exit_code "$2"
  note ended_s "$(date +%s)"
}
