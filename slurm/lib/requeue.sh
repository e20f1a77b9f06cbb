# shellcheck shell=bash
# shellcheck disable=SC2154  # set by the other files of slurm/
# How a job stops, and whether it is requeued. Source it. README.md, "Stopping, requeueing, going on", describes it for users.

max_crashes=3       # so many starts in which a rank died are followed by another start
record_wait_s=20    # for the program's record after a launcher that ended with 0
answer_reserve_s=10  # the script asks Slurm's controller until this time before the job's end

# From now on a signal to this shell stops the ranks in order and does not end the shell.
catch_stops() {
  trap 'pass_on_stop USR1' USR1
  trap 'pass_on_stop TERM' TERM
  trap 'pass_on_stop USR2' USR2
}

# Sends USR1 to the launcher, which passes it on to the ranks, and to the launcher's own child ranks, because mpirun of Open MPI 4.1.6
# did not always pass it on. One rank that receives it stops all. With TERM, mpirun would kill the ranks a second later.
signal_ranks() {
  local rank children=()
  kill -USR1 "$child" 2>/dev/null || true
  { read -ra children <"/proc/$child/task/$child/children"; } 2>/dev/null || true
  for rank in "${children[@]}"; do
    # Not to the helpers through which a launcher reaches other nodes, because they would end.
    # The program of an image has no path outside of it.
    if [ "/proc/$rank/exe" -ef "$program" ] || { [ -n "${WAN_IMAGE-}" ] && [[ $(readlink "/proc/$rank/exe") == */wan_batch ]]; }; then kill -USR1 "$rank" 2>/dev/null || true; fi
  done
}

pass_on_stop() {
  [ -n "$stop_signal" ] || stopped_at=$SECONDS
  stop_signal=$1
  interrupted=1
  local why="SIG$1"
  [ "$1" != USR2 ] || why="the bound of WAN_MAX_CHAIN_HOURS is near"
  say "told to stop ($why) after $SECONDS s; the ranks finish the step in hand and save"
  [ -z "${start_record-}" ] || note told_to_stop "$1"
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

# has_time_left SECONDS: whether the job will still run after this time. Slurm ends it at its time limit. If the limit is not known, the
# function assumes the scripts' own notice of three minutes.
has_time_left() {
  local end=${SLURM_JOB_END_TIME-}
  if [[ $end =~ ^[0-9]+$ ]]; then
    (($(date +%s) + $1 + answer_reserve_s < end))
  else
    ((SECONDS - stopped_at + $1 + answer_reserve_s < 180))
  fi
}

# Asks for the job's record until Slurm's controller answers or the time is over. Sets job_record; it is empty without an answer.
ask_slurm() {
  local pause=1
  while :; do
    job_record=$(scontrol show job -o "$(job_id)" 2>/dev/null) || job_record=""
    if [ -n "$job_record" ] || ! has_time_left "$pause"; then break; fi
    sleep "$pause"
    pause=$((pause < 10 ? 2 * pause : 10))
  done
  [ -n "$job_record" ] || say "Slurm's controller does not answer"
}

# job_field NAME: prints a field of job_record, or nothing if the record lacks it. It is the first field of that name, because the job's
# arguments come last and may contain anything.
job_field() { { grep -oE "(^|[[:space:]])$1=[^[:space:]]*" <<<"$job_record" || true; } | sed -nE '1s/^[^=]*=//p'; }

# Whether Slurm has preempted the job: yes, no, or unknown if it does not answer. A job that runs normally has PreemptTime=None.
read_preemption() {
  preempted=no job_state="" job_record=""
  [ -n "$(job_id)" ] || return 0
  ask_slurm
  job_state=$(job_field JobState)
  if [ -z "$job_record" ]; then
    preempted=unknown
  elif [[ $(job_field PreemptTime) =~ ^[0-9] ]] || [ "$job_state" = PREEMPTED ]; then
    preempted=yes
  fi
}

# srun that loses its node ends with 0 while the ranks still save. The program writes its record of the run last, so the job waits for it.
# Sets exit_code and end_is_unknown.
confirm_end() {
  local tries
  end_is_unknown=no
  if [ "$exit_code" -ne 0 ] || ! compgen -G "$start_record.group-*.json" >/dev/null; then return; fi  # without these no run was begun
  for ((tries = 0; tries < record_wait_s; tries++)); do
    # Listing the folder, because NFS may remember for a minute that a file was not there.
    [ -z "$(find "${start_record%/*}" -maxdepth 1 -name "${start_record##*/}.run.json")" ] || return 0
    sleep 1
  done
  say "$launcher ended with 0, and the program has left no record of its end"
  end_is_unknown=yes exit_code=1
}

# Ends the job after the program: by its exit code, or by a requeue.
finish_job() {
  [ -n "$stop_signal" ] || stopped_at=$SECONDS
  confirm_end
  # A launcher that ends the other ranks after the first rank's exit may report their exit codes instead.
  if [ "$(recorded exit_code)" -eq "$stopped_early" ]; then exit_code=$stopped_early; fi
  if [ "$exit_code" -ge 128 ] && [ -e "$start_record.error" ]; then exit_code=1; fi
  case $exit_code in
    0) end_job "done" 0 ;;
    2) end_with_usage ;;
    3) end_job "some rows failed" 3 ;;
    "$stopped_early") finish_stopped ;;
    *) finish_cut_short ;;
  esac
}

# end_job REASON EXIT_CODE: the job's last start has ended.
end_job() {
  show_comment  # asking Slurm takes a while, which belongs to this start
  end_start "$1" "$2"
  say "exit code $2 after $SECONDS s"
  print_account
  exit "$2"
}

# Nothing was started, so that this start leaves nothing in the output folder.
end_with_usage() {
  end_start "a setting is wrong" 2
  say "exit code 2 after $SECONDS s"
  discard_ledger
  exit 2
}

# The run stopped in order.
finish_stopped() {
  local steps made
  if [ -r "$start_record.run.json" ] && grep -q '"stopped_by": *"stop_file"' "$start_record.run.json"; then
    say "not requeued: the file STOP in the output folder stopped this run; remove it, and the same sbatch command goes on from here"
    end_start "the file STOP" "$stopped_early"
    print_account
    exit "$stopped_early"
  fi
  steps=$(recorded steps_gained)
  made=$(recorded made)
  read_preemption
  if [ "$steps" -lt 1 ] && [ "$made" -lt 1 ]; then
    case $preempted in
      yes) say "no step was gained since this start, but the job was preempted: the next start has its time" ;;
      unknown) say "no step was gained since this start; it is not known whether the job was preempted, so it is requeued" ;;
      no)
        say "not requeued: no step was gained since this start, so the next one would end alike. Ask for more time (--time), or for a" \
          "later stop (--signal=B:USR1@SECONDS)"
        end_start "stopped before it gained a step" 1
        print_account
        exit 1
        ;;
    esac
  else
    say "stopped early: $steps steps and $made items gained"
  fi
  requeue "$(stop_reason)"
}

# The ranks ended before they could stop in order: by a signal, an error, or the loss of the launcher.
finish_cut_short() {
  local code=$exit_code
  if [ -n "$stop_signal" ] || [ "$exit_code" -ge 128 ] || [ "$end_is_unknown" = yes ]; then
    read_preemption
    if [ "$preempted" = yes ] || { [ "$preempted" = unknown ] && [ -n "$stop_signal" ]; }; then
      say "exit code $code: the ranks ended before they could stop in order; what was saved before is kept"
      requeue "$(stop_reason)"
    fi
    if is_taken_away; then requeue "$(stop_reason)"; fi
    [ -z "$stop_signal" ] || say "the run ended before it could stop in order; what was saved before is kept"
  fi
  if [ "$exit_code" -lt 128 ]; then end_job "an error ended the run" "$code"; fi
  finish_crashed "$code"
}

# finish_crashed EXIT_CODE: a signal ended a rank. If the job cannot be requeued, it ends with the program's own code.
finish_crashed() {
  local code=$1 crashes reason
  reason="a rank died ($(signal_name "$code"))"
  crashes=$(crashes_before)
  if [ "$(progress_sum steps_made)" -lt 1 ] && [ "$(progress_sum made)" -lt 1 ] && [ "$(progress_sum in_hand)" -lt 1 ]; then
    say "not requeued: $reason before the run had begun a row, so the next start would end alike; its messages are above"
  elif [ "$crashes" -ge "$max_crashes" ]; then
    say "not requeued: $reason, and so did one in $crashes earlier starts of this job"
  else
    note ended_by crash
    end_code=$code
    say "$reason; this is crash $((crashes + 1)) of the job, and the first $max_crashes are followed by another start"
    requeue "$reason"
  fi
  end_job "$reason" "$code"
}

# signal_name EXIT_CODE: "SIGKILL" for 137.
signal_name() {
  local name
  name=$(kill -l "$(($1 - 128))" 2>/dev/null) || name=""
  if [ -n "$name" ]; then printf 'SIG%s' "$name"; else printf 'exit code %s' "$1"; fi
}

# Whether Slurm has ended this start: not by a preemption, and not because somebody wants the job to end.
is_taken_away() {
  case $job_state in
    NODE_FAIL | BOOT_FAIL | REQUEUED | PENDING) true ;;
    *) false ;;
  esac
}

# Why this start stopped, for the account. read_preemption must have been called.
stop_reason() {
  if [ "$preempted" = yes ]; then
    printf 'preempted'
  elif is_taken_away; then
    printf 'a node was lost, or somebody requeued the job'
  elif [ "$job_state" = COMPLETING ]; then
    printf 'cancelled, or a node was lost'
  else
    case $stop_signal in
      USR1) printf 'stopped before the time limit, or by SIGUSR1' ;;
      USR2) printf 'the bound of WAN_MAX_CHAIN_HOURS' ;;
      TERM) printf 'told to end (SIGTERM)' ;;
      *) printf 'stopped early' ;;
    esac
  fi
}

# Parts of the answers of scontrol while a controller is stopping, away or starting.
away_answers='contact|connect|communicat|time.?out|timed out|respon|unexpected message|zero bytes|socket'

# requeue_now ID: requeues the job, and asks again if the controller is down. Prints Slurm's message if Slurm refuses.
requeue_now() {
  local answer pause=1 tries=0
  while :; do
    if answer=$(scontrol requeue "$1" 2>&1); then return; fi
    tries=$((tries + 1))
    # Three times, whatever Slurm answers: a controller that is stopping or starting gives various answers.
    if [ "$tries" -ge 3 ] && [ -n "$answer" ] && ! grep -qiE "$away_answers" <<<"$answer"; then break; fi
    has_time_left "$pause" || break
    sleep "$pause"
    pause=$((pause < 10 ? 2 * pause : 10))
  done
  printf '%s' "$answer"
}

# requeue REASON: requeues the job unless something is against it, and ends this start, then with end_code. read_preemption must have
# been called.
requeue() {
  local reason=$1 how="the same sbatch command goes on from here" id answer bound
  id=$(job_id)
  if [ -z "$id" ]; then
    say "not requeued: this is no batch job; $how"
  elif [ "${WAN_REQUEUE:-on}" = off ]; then
    say "not requeued: WAN_REQUEUE is off; $how"
  elif bound=$(chain_bound) && [ -n "$bound" ]; then
    say "not requeued: $bound; $how"
    end_start "$reason" 1
    print_account
    exit 1
  elif is_taken_away; then
    say "Slurm has ended this start: $reason. The job's state is $job_state, so Slurm starts it again"
  elif [ "$job_state" = COMPLETING ] && [ "$preempted" = no ]; then
    say "Slurm has ended this start: the job was cancelled, or it lost a node. After the loss of a node Slurm starts it again"
  elif [ -n "$job_state" ] && [ "$job_state" != RUNNING ] && [ "$preempted" = no ]; then
    say "not requeued: the job is being cancelled (its state is $job_state); $how"
  elif [ "$stop_signal" = TERM ] && [ "$preempted" = no ]; then
    say "not requeued: SIGTERM means that somebody wants the job to end; $how"
  else
    # Slurm ends this script as soon as it has requeued the job.
    trap '' USR1 USR2 TERM
    note requeued yes
    end_start "$reason" "$end_code"
    print_account
    remove_scratch
    say "requeueing job $id"
    answer=$(requeue_now "$id")
    if [ -n "$answer" ]; then
      note requeued no
      say "not requeued: Slurm says: $answer; $how"
    fi
    exit "$end_code"
  fi
  end_start "$reason" "$end_code"
  print_account
  exit "$end_code"
}
