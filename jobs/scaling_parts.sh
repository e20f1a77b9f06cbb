# shellcheck shell=bash
# The parts of jobs/scaling.sh, which sources this file and sets: project, folder, scratch, build, device, counts, largest, seconds, starts,
# steps, items, types, asked. A function part_NAME makes what is missing of a part, and raises status: 85 there was no time for all of it,
# 1 something failed.
# shellcheck disable=SC2154,SC2034,SC2317,SC2329  # variables of scaling.sh; the parts are called by their names

#: Seconds until a start's first step: MPI, NCCL, memory, random weights or a file from memory; and of one more start of Python.
start_s=8

# The work of each part.
choose_work() {
  wan_batch=$build/bin/wan_batch wan_bench=$build/bin/wan_bench python=$project/.venv/bin/python
  [ -x "$python" ] || python=python3
  if [ "$device" = cuda ]; then
    bench_words=() size_480='832*480' size_720='1280*720' item_size='832*480' frames=81
    item_words=(--lightning on)                 # 4 steps without guidance
    stop_words=(--frame-num 17 --sample-steps 6) # videos of noise are long files
    least_gib=0.65 check_s=60
  else
    bench_words=(--device cpu --model "$project/inputs/toy/checkpoint/high_noise_model/config.json" --frame-num 5)
    size_480='64*48' size_720='96*64' item_size='64*64' frames=5
    item_words=(--device cpu --sample-steps 4) # the toy has 4 heads, so a group of 8 needs guidance
    stop_words=(--device cpu --frame-num 5 --sample-steps 60)
    least_gib=4 check_s=2
  fi
}

# The cases of a study, one on each line: ranks, then options of the program.
cases_of() {
  local count above=()
  case $1 in
    bench-*)
      printf '%s\n' "${counts[@]}"
      for count in "${counts[@]}"; do
        ((count == 1)) || above+=("$count")
        ((count != 2)) || echo "2 --cfg-size 1 --ulysses-size 2" # an exchange on few GPUs, for the model
      done
      ((${#above[@]} < 2)) || echo "${above[-2]} --dit-fsdp on"
      ((${#above[@]} < 1)) || echo "$largest --dit-fsdp on"
      ((largest < 4)) || echo "$largest --head-chunks 1"
      ;;
    items)
      for count in "$largest" "$((largest / 2))" 1; do
        ((count < 1 || largest % count)) || echo "$largest --group-size $count"
      done | uniq
      ;;
  esac
}

# The checks, one on each line: ranks, the part of tests/gpu.sh, name. Each must end within a call, so parity on several GPUs is cut into suites.
check_cases() {
  local count suite
  [ "$device" = cpu ] || echo "1 kernels kernels"
  for count in "${counts[@]}"; do echo "$count comm comm on $count"; done
  [ "$device" = cuda ] || return 0
  for count in "${counts[@]}"; do
    if ((count == 1)); then
      echo "1 parity parity on 1"
    else
      for suite in reference lightning family loras; do echo "$count parity-$suite parity-$suite on $count"; done
    fi
  done
}

two_largest() { printf '%s\n' "${counts[@]}" | tail -2; }

# Every row of the study: part, name, ranks, starts.
rows() {
  local type count name
  while read -r count _ name; do printf 'checks\t%s\t%s\t1\n' "$name" "$count"; done < <(check_cases)
  case_rows bench-480p "$starts"
  case_rows bench-720p "$starts"
  for type in "${types[@]}"; do
    for count in $(two_largest); do printf 'load\t%s files on %s\t%s\t1\n' "$type" "$count" "$count"; done
  done
  case_rows items 1
  ((largest < 2)) || printf 'stop\t%s, then %s\t%s\t1\n' "$largest" "$((largest / 2))" "$largest"
}

case_rows() { # PART STARTS
  local case
  while read -r case; do printf '%s\t%s\t%s\t%s\n' "$1" "$case" "${case%% *}" "$2"; done < <(cases_of "$1")
}

write_plan() {
  rows | while IFS=$'\t' read -r part name ranks of; do
    printf '{"part": "%s", "name": "%s", "ranks": %s, "starts": %s}\n' "$part" "$name" "$ranks" "$of"
  done >"$folder/.plan.new"
  mv "$folder/.plan.new" "$folder/plan.jsonl"
}

left_s() { echo $((seconds > SECONDS ? seconds - SECONDS : 0)); }

# fits SECONDS: whether so much time is left; otherwise the call ends with 85.
fits() {
  (($(left_s) > $1)) && return
  raise 85
  return 1
}

raise() { ((status == 1)) || status=$1; }

# record PART NAME RANKS OUTCOME SECONDS TEXT: adds a line to parts.jsonl. The last one of a name counts.
record() {
  [ ! -s "$folder/parts.jsonl" ] || [ -z "$(tail -c 1 "$folder/parts.jsonl")" ] || echo >>"$folder/parts.jsonl" # a kill cut off the last line
  printf '{"part": "%s", "name": "%s", "ranks": %s, "outcome": "%s", "wall_s": %s, "told": "%s"}\n' "$@" >>"$folder/parts.jsonl"
  say "$1, $2: $4, $5 s${6:+, $6}"
  [ "$4" = passed ] || raise 1
}

# cut_off PART NAME RANKS BEGUN: the end of the call ended a row. The next call makes it again, unless it had a whole call already.
cut_off() {
  if (($4 < check_s)); then
    record "$1" "$2" "$3" failed $((SECONDS - $4)) "cut off: it takes longer than a call of $seconds s"
  else
    raise 85
  fi
}

is_passed() { [ -e "$folder/parts.jsonl" ] && grep -qF "{\"part\": \"$1\", \"name\": \"$2\", \"ranks\": $3, \"outcome\": \"passed\"" "$folder/parts.jsonl"; }

# in_time COMMAND...: ends it with the call. Exit code 124: it was cut off. It runs beside this script, because bash hears of a signal only
# between two commands, and in a process group of its own, which Ctrl-C does not reach.
in_time() {
  begin_in_time "$@"
  end_in_time
}

begin_in_time() {
  local left
  left=$(left_s)
  timeout --kill-after=20 "$((left > 0 ? left : 1))" "$@" & # timeout 0 would have no end
  running=$!
}

end_in_time() {
  local code=0
  wait "$running" || code=$?
  running=""
  return "$code"
}

# end_by_signal EXIT_CODE: ends the command of in_time, too.
end_by_signal() {
  trap '' INT TERM
  if [ -n "$running" ]; then
    # First the command alone: mpirun leaves its ranks behind if it hears of two signals, from here and from a study.
    pkill -TERM -P "$running" || true
    wait "$running" || true
    kill -TERM -- "-$running" 2>/dev/null || true # what the command left in its group
  fi
  say "stopped; the same command goes on" >&3
  exit "$1"
}

# new_log NAME: the path of an output file
new_log() {
  mkdir -p "$folder/logs"
  echo "$folder/logs/${1//[ ,]/_}.log"
}

run_check() { # RANKS CHECK
  if [ "$device" = cuda ]; then
    in_time "$project/tests/gpu.sh" run --ranks "$1" "$2"
  else
    in_time mpirun ${mpi_options[@]+"${mpi_options[@]}"} -np "$1" "$build/tests/bin/comm_conformance_test" --gtest_brief=1
  fi
}

part_checks() {
  local count check name code begun log
  while read -r count check name; do
    is_passed checks "$name" "$count" && continue
    fits "$check_s" || return 0
    begun=$SECONDS code=0 log=$(new_log "checks $name")
    run_check "$count" "$check" >"$log" 2>&1 </dev/null || code=$?
    if ((code == 0)); then
      record checks "$name" "$count" passed $((SECONDS - begun)) ""
    elif (($(left_s) > 0)); then
      tail -5 "$log"
      record checks "$name" "$count" failed $((SECONDS - begun)) "exit code $code"
    else
      cut_off checks "$name" "$count" "$begun"
    fi
  done < <(check_cases)
}

# run_study PART STARTS PROGRAM ARGUMENT...: the cases of PART by jobs/study.sh, for the rest of the time.
run_study() {
  local part=$1 of=$2 program=$3 case options=() wanted=0 made before code=0 left begun=$SECONDS least=15
  shift 3
  while read -r case; do options+=(--case "$case") wanted=$((wanted + of)); done < <(cases_of "$part")
  [ -z "$seed" ] || options+=(--seed "$seed")
  before=$(made_starts "$part")
  ((before < wanted)) || return 0
  # The first start of a part may be the longest one. A call that has only begun tries it all the same.
  ((before > 0 || begun < check_s)) || least=$(longest_s "$part" "$least")
  fits "$least" || return 0
  left=$(left_s)
  in_time "$project/jobs/study.sh" -o "$folder/$part" --program "$program" "${options[@]}" --starts "$of" --most-starts "$of" \
    --session-hours "$(awk "BEGIN { print ($left - 8) / 3600 }")" -- "$@" || code=$?
  made=$(made_starts "$part")
  say "$part: $made of $wanted starts"
  if ((made >= wanted)); then
    return 0
  elif ((code != 0 && $(left_s) > 0)); then
    raise 1
  elif ((made == before && begun < check_s)); then # the next call would come as far
    say "$part: no start ended well in a whole call of $seconds s; --seconds gives it more"
    raise 1
  else
    raise 85
  fi
}

made_starts() { { grep -c '"exit_code": 0,.*}$' "$folder/$1/starts.jsonl" 2>/dev/null || true; } | grep . || echo 0; }

part_bench_480p() { run_study bench-480p "$starts" "$wan_bench" ${bench_words[@]+"${bench_words[@]}"} --size "$size_480" --steps "$steps" --warmup 1; }

part_bench_720p() {
  run_study bench-720p "$starts" "$wan_bench" ${bench_words[@]+"${bench_words[@]}"} --size "$size_720" --steps $(((steps + 1) / 2)) --warmup 1
}

# make_checkpoint TYPE: sets ckpt to a checkpoint of full size with random weights, or to the toy. Fails if there is no time for it.
make_checkpoint() {
  local log
  if [ "$device" = cpu ]; then
    ckpt=$project/inputs/toy/checkpoint
    return
  fi
  ckpt=$scratch/$1
  [ ! -e "$ckpt/google" ] || return 0 # it is written last
  fits 150 || return 1
  rm -rf "$ckpt"
  log=$(new_log "checkpoint $1")
  say "makes $ckpt"
  in_time "$python" "$project/tests/gpu/make_random_checkpoint.py" "$ckpt" "$project/tests/data/parity/i2v_landscape/ckpt/google/umt5-xxl" \
    --dtype "$1" --same-experts >"$log" 2>&1 && return
  rm -rf "$ckpt"
  tail -5 "$log"
  raise "$( (($(left_s) > 0)) && echo 1 || echo 85)"
  return 1
}

# Images that differ, and their rows: make_manifest FILE ROWS
make_manifest() {
  mkdir -p "$scratch/images"
  "$python" "$project/jobs/scaling_images.py" "$scratch/images" "$2" "${item_size/\*/x}" "$project"/inputs/toy/images/*
  local row quoted=${scratch//\"/\"\"}
  {
    echo id,image,prompt
    for ((row = 0; row < $2; ++row)); do echo "item$row,\"$quoted/images/$row.png\",a harbour at dawn with $row boats"; done
  } >"$1"
}

part_load() {
  local type count name log code begun ckpt loaded memory
  for type in "${types[@]}"; do
    for count in $(two_largest); do
      name="$type files on $count"
      is_passed load "$name" "$count" && continue
      make_checkpoint "$type" && fits 45 || return 0
      make_manifest "$scratch/one.csv" 1
      rm -rf "$scratch/load"
      begun=$SECONDS code=0 log=$(new_log "load $name")
      in_time "$python" "$project/tests/gpu/host_memory.py" --most-gib "$(awk "BEGIN { print $least_gib * $count }")" \
        mpirun ${mpi_options[@]+"${mpi_options[@]}"} -np "$count" "$wan_batch" --ckpt-dir "$ckpt" --size "$item_size" --base-seed 1 \
        --output-dir "$scratch/load" ${item_words[@]+"${item_words[@]}"} --frame-num 5 "$scratch/one.csv" >"$log" 2>&1 || code=$?
      loaded=$(sed -nE 's/.*checkpoint loaded in ([0-9.]+) s.*/loaded in \1 s/p' "$log" | tail -1)
      memory=$(sed -nE 's/^HOST MEMORY while loading: anonymous ([0-9.]+) GiB.*/\1/p' "$log")
      if ((code == 0)); then
        record load "$name" "$count" passed $((SECONDS - begun)) "$loaded; anonymous host memory of all ranks at most $memory GiB"
      elif (($(left_s) == 0)); then
        cut_off load "$name" "$count" "$begun"
        return 0
      else
        tail -5 "$log"
        record load "$name" "$count" failed $((SECONDS - begun)) "exit code $code${loaded:+; $loaded}${memory:+; anonymous host memory $memory GiB}"
      fi
    done
  done
}

part_items() {
  local ckpt
  (($(made_starts items) < $(cases_of items | wc -l))) || return 0
  make_checkpoint bf16 && fits 60 || return 0
  make_manifest "$scratch/items.csv" "$items"
  run_study items 1 "$wan_batch" --ckpt-dir "$ckpt" --size "$item_size" --frame-num "$frames" --base-seed 1 "${item_words[@]}" "$scratch/items.csv"
  [ ! -d "$folder/items" ] || find "$folder/items" -name '*.mp4' -delete # of noise they are large; the traces stay
}

# stop_run in_time|begin_in_time RANKS FOLDER LOG: the item of the part stop
stop_run() {
  "$1" mpirun ${mpi_options[@]+"${mpi_options[@]}"} -np "$2" "$wan_batch" --ckpt-dir "$ckpt" --size "$item_size" --base-seed 1 "${stop_words[@]}" \
    --checkpoint-interval 0 --save-latents --output-dir "$3" "$scratch/one.csv" >"$4" 2>&1
}

# Stops after a saved step by SIGUSR1 to a rank: not every mpirun passes it on. Returns the exit code.
stopped_run() {
  stop_run begin_in_time "$@"
  while kill -0 "$running" 2>/dev/null && ! ls "$2"/.state/*.json >/dev/null 2>&1; do sleep 0.02; done
  signal_a_rank_below "$running" || true
  end_in_time
}

# Fails if no rank runs there.
signal_a_rank_below() {
  local child
  for child in $(pgrep -P "$1"); do
    if [ "$(cat "/proc/$child/comm" 2>/dev/null)" = "$(basename "$wan_batch")" ]; then
      kill -USR1 "$child" && return
    else
      signal_a_rank_below "$child" && return
    fi
  done
  return 1
}

part_stop() {
  ((largest > 1)) || return 0
  local half=$((largest / 2)) name ckpt log begun codes=() code step told outcome=failed file
  name="$largest, then $half"
  is_passed stop "$name" "$largest" && return
  make_checkpoint bf16 && fits 75 || return 0
  make_manifest "$scratch/one.csv" 1
  rm -rf "$scratch/straight" "$scratch/stopped"
  begun=$SECONDS log=$(new_log "stop $largest")
  code=0 && stop_run in_time "$half" "$scratch/straight" "${log%.log}_without.log" || code=$?
  codes+=("$code")
  code=0 && stopped_run "$largest" "$scratch/stopped" "$log" || code=$?
  codes+=("$code")
  step=$(find "$scratch/stopped/.state" -name '*.safetensors' 2>/dev/null | sed -nE 's/.*\.([0-9]+)\.wan-[^/]*/\1/p' | sort -n | tail -1) || true
  code=0 && stop_run in_time "$half" "$scratch/stopped" "${log%.log}_goes_on.log" || code=$?
  codes+=("$code")
  if ((code != 0 && $(left_s) == 0)); then
    cut_off stop "$name" "$largest" "$begun"
    return
  fi
  told="exit codes ${codes[*]}"
  if [ "${codes[*]}" = "0 85 0" ]; then
    outcome=passed told="stopped after step $step; MP4 and latent are those of a run on $half without a stop"
    for file in item0.mp4 item0.latent.safetensors; do
      cmp -s "$scratch/straight/$file" "$scratch/stopped/$file" || outcome=failed told="$file differs from that of a run on $half without a stop"
    done
  fi
  record stop "$name" "$largest" "$outcome" $((SECONDS - begun)) "$told"
}

part_report() {
  local part there=()
  for part in bench-480p bench-720p items; do [ ! -e "$folder/$part/starts.jsonl" ] || there+=("$folder/$part"); done
  [ ${#there[@]} -gt 0 ] || die "$folder holds no start yet: run bench-480p, bench-720p or items first"
  "$project/jobs/analysis.sh" report "${there[@]}" --parts "$folder" -o "$folder/report.html" --json "$folder/report.json" || raise 1
}
