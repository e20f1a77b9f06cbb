# shellcheck shell=bash
# The expected seconds of the rows of jobs/scaling.sh, and its option --plan. scaling.sh sources this file after scaling_parts.sh, whose
# variables and functions it uses.
# shellcheck disable=SC2154  # variables of scaling.sh

# plan_figures RANKS SIZE OPTION...: by wan_batch --plan on GPUs of 141 GiB: seconds of a step, of the other phases, of an item with its file,
# and items an hour
plan_figures() {
  local ranks=$1 size=$2
  shift 2
  "$wan_batch" --plan --task i2v-A14B --gpus "$ranks" --gpu-memory 141GiB --size "$size" "$@" 2>/dev/null | awk '
    /^  text  / || /^  encode the image/ || /^  decode/ { vae += $(NF - 1) }
    /^  denoise: [0-9]+ steps of/ { step = $5 }
    / chosen$/ { item = $(NF - 2); hour = $(NF - 1) }
    END { if (step) print step, vae, item, hour }'
}

# Seconds of one start of a row: expected_s PART NAME RANKS. Nothing: not known.
expected_s() {
  local part=$1 name=$2 ranks=$3 words figures size=$size_480 of=$steps
  [ "$device" = cuda ] && [ -x "$wan_batch" ] || return 0
  case $part in
    bench-*)
      [ "$part" = bench-480p ] || size=$size_720 of=$(((steps + 1) / 2))
      read -ra words <<<"$name"
      read -r -a figures < <(plan_figures "$ranks" "$size" --sample-steps 4 "${words[@]:1}") || return 0
      awk "BEGIN { printf \"%.0f\", $start_s + ($of + 1) * ${figures[0]} + ${figures[1]} }"
      ;;
    items)
      read -ra words <<<"$name"
      read -r -a figures < <(plan_figures "$ranks" "$item_size" "${item_words[@]}" "${words[@]:1}") || return 0
      awk "BEGIN { printf \"%.0f\", $start_s + 3600 * $items / ${figures[3]} + ${figures[2]} }"
      ;;
  esac
}

# longest_s PART LEAST: the most expected seconds of a start of a part, and LEAST at least
longest_s() {
  local part name ranks of each longest=$2
  while IFS=$'\t' read -r part name ranks of; do
    [ "$part" = "$1" ] || continue
    each=$(expected_s "$part" "$name" "$ranks")
    ((${each:-0} <= longest)) || longest=$each
  done < <(rows)
  echo "$longest"
}

# The rows with their expected seconds, then a line for each part: the command that makes it, and in how many calls.
print_plan() {
  local part name ranks of each calls
  local -A known=() unknown=()
  printf '%-11s %-32s %6s %9s %9s\n' part "ranks and options" starts "each, s" "all, s"
  while IFS=$'\t' read -r part name ranks of; do
    [[ " ${asked[*]} " == *" $part "* ]] || continue
    each=$(expected_s "$part" "$name" "$ranks")
    if [ -n "$each" ]; then
      known[$part]=$((${known[$part]:-0} + each * of))
    else
      unknown[$part]=$((${unknown[$part]:-0} + 1))
    fi
    printf '%-11s %-32s %6s %9s %9s\n' "$part" "$name" "$of" "${each:--}" "${each:+$((each * of))}"
  done < <(rows)
  echo
  for part in "${asked[@]}"; do
    each=${known[$part]:-0} calls=$(((${known[$part]:-1} + seconds - 1) / seconds))
    printf '%-40s %5s in %d %s of %d s%s\n' "jobs/scaling.sh -o $folder $part" "${known[$part]:+$each s}" "$calls" \
      "$( ((calls > 1)) && echo calls || echo call)" "$seconds" "${unknown[$part]:+, and ${unknown[$part]} rows (-)}"
  done
  echo "Steps, VAE and items as wan_batch --plan expects them, and $start_s s to start; a dash: nothing says how long it takes. The first part that" \
    "needs a checkpoint makes it."
}
