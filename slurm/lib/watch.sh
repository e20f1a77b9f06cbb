# shellcheck shell=bash
# shellcheck disable=SC2154  # set by the other files of slurm/
# A watcher beside the ranks: it says if they do not start, notes the time, shows the progress in the job's Comment, and keeps the bound of
# WAN_MAX_CHAIN_HOURS. Source it.

silence_s=60           # after this time without MPI_Init the log says so
comment_every_s=60     # between two comments
comment_mark="wan_batch: "  # in the job's Comment, before the scripts' text and after the user's own

# start_watcher: in the background; stop_watcher ends it.
start_watcher() {
  watch_ranks &
  watcher=$!
}

# It ignores the other signals, because Slurm may send them to all processes of the job.
stop_watcher() {
  [ -n "${watcher-}" ] || return 0
  kill -KILL "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  watcher=""
}

watch_ranks() {
  trap '' USR1 USR2 TERM
  trap - EXIT
  local began=$SECONDS next_s=$((SECONDS + 5)) has_started=no is_bounded=no pipe
  # A pipe that nobody writes to: reading from it with a time limit sleeps without another process.
  exec {pipe}<> <(:)
  # $$ is the script, also in this background shell.
  while kill -0 $$ 2>/dev/null; do
    read -r -t 1 -u "$pipe" || true
    if [ "$has_started" = no ]; then
      if [ -e "$start_record.mpi" ]; then
        has_started=yes
      elif ((SECONDS - began >= silence_s)); then
        has_started=said
        say_silence $((SECONDS - began))
      fi
    fi
    if [ "$is_bounded" = no ] && [ -n "${WAN_MAX_CHAIN_HOURS-}" ] && (($(chain_s) >= $(seconds_of_hours "$WAN_MAX_CHAIN_HOURS"))); then
      is_bounded=yes
      kill -USR2 $$ 2>/dev/null || true
    fi
    if ((SECONDS >= next_s)); then
      next_s=$((SECONDS + comment_every_s))
      note seen_s "$(date +%s)"
      show_comment
    fi
  done
}

# say_silence SECONDS: the usual cause is that the launcher and the MPI library do not understand each other.
say_silence() {
  local kinds library
  kinds=$(srun --mpi=list 2>&1 | tr '\n\t' '  ' | tr -s ' ') || kinds="(srun does not answer)"
  library=$({ ompi_info --parsable 2>/dev/null || true; } | sed -nE 's/^mca:pmix:([a-z0-9]+):version:component:(.*)$/\1 \2/p' | paste -sd, )
  say "no rank has passed MPI_Init after $1 s. The job goes on waiting. Often the launcher and the MPI library use different PMI versions." \
    "Launcher: $launcher${launcher_kind:+ --mpi=$launcher_kind}; Slurm has: $kinds; the MPI library has PMIx: ${library:-unknown (no ompi_info)}." \
    "Remedies: WAN_MPI with another one of Slurm's, or WAN_LAUNCHER=mpirun"
}

# own_comment TEXT: prints the user's own part of a Comment.
own_comment() {
  local text=${1%%"$comment_mark"*}
  printf '%s' "${text%" | "}"
}

# progress_text: prints "31/120 done, 2 failed, step 7/40, ends 04:10, start 3"; nothing before the first row.
progress_text() {
  local file="$start_record.group-0.json" rows settled failed step steps left text
  [ -r "$file" ] || return 0
  rows=$(progress_of "$file" rows)
  settled=$(($(progress_of "$file" settled_before) + $(progress_sum made) + $(progress_sum failed)))
  failed=$(($(progress_of "$file" failed_before) + $(progress_sum failed)))
  step=$(progress_of "$file" step) steps=$(progress_of "$file" steps) left=$(progress_of "$file" left_s)
  text="$((settled - failed))/$rows done"
  if ((failed > 0)); then text+=", $failed failed"; fi
  if ((steps > 0)); then text+=", step $step/$steps"; fi
  if ((left > 0 && settled < rows)); then text+=", ends $(date -d "@$(($(progress_of "$file" at_s) + left))" '+%H:%M')"; fi
  printf '%s, start %s' "$text" "$start_number"
}

# progress_of FILE NAME: prints a whole number of a group's progress; 0 if there is none.
progress_of() {
  local number
  number=$(sed -nE "s/.*\"$2\": *(-?[0-9]+).*/\1/p" "$1" | head -n 1)
  printf '%d' "${number:-0}"
}

# show_comment: writes the progress behind the user's own comment of the job.
show_comment() {
  local text id comment own
  id=$(job_id) text=$(progress_text)
  if [ -z "$id" ] || [ -z "$text" ]; then return 0; fi
  # Without the present comment, the user's own part could be lost.
  comment=$(timeout 20 squeue --noheader --jobs="$id" --format=%k 2>/dev/null) || return 0
  [ "$comment" != "(null)" ] || comment=""
  own=$(own_comment "$comment")
  timeout 20 scontrol update "JobId=$id" "Comment=${own:+$own | }$comment_mark$text" >/dev/null 2>&1 || true
}

# print_account: the starts of the job, its GPU-hours, the failed rows, and the command to type next.
print_account() {
  [ -n "${ledger-}" ] && [ "$ledger" != "${scratch-}/job" ] || return 0
  timeout 20 "${in_image[@]}" "$program" status --job "$(job_id)" "${ledger%/.jobs/*}" 2>/dev/null || true
}
