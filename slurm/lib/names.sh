# shellcheck shell=bash
# The one list of all environment variables of the project that begin with WAN_, and the check that a job uses no other. Source it.

wan_names=(
  # The Slurm scripts, described at the top of common.sh.
  WAN_PROJECT WAN_BATCH WAN_CKPT_DIR WAN_LAUNCHER WAN_MPI WAN_BIND WAN_LAUNCH_OPTIONS WAN_MODULES WAN_SCRATCH WAN_REQUEUE
  WAN_MAX_STARTS WAN_MAX_CHAIN_HOURS WAN_IMAGE WAN_IMAGE_OPTIONS WAN_SHARDS WAN_STUDY WAN_COUNTS WAN_CASES
  WAN_STUDY_DIR WAN_STUDY_STARTS WAN_STUDY_PRECISION WAN_STUDY_HOURS WAN_BENCH
  # The scripts set it for the program: where it keeps the record of this start of the job.
  WAN_JOB_START
  # The programs: the folder of measured choices of matrix products, which a modulefile may set.
  WAN_PRODUCT_CACHE
  # The modulefile sets it for users, who type it: the folder of the installed scripts.
  WAN_SLURM
  # jobs/.
  WAN_MODEL_CACHE
)

# edit_distance A B: prints how many letters must be added, removed or replaced to make B from A.
edit_distance() {
  local a=$1 b=$2 i j cost least row=() above=()
  for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#a}; i++)); do
    above=("${row[@]}")
    row[0]=$i
    for ((j = 1; j <= ${#b}; j++)); do
      cost=1
      if [ "${a:i-1:1}" = "${b:j-1:1}" ]; then cost=0; fi
      least=$((above[j - 1] + cost))
      if ((above[j] + 1 < least)); then least=$((above[j] + 1)); fi
      if ((row[j - 1] + 1 < least)); then least=$((row[j - 1] + 1)); fi
      row[j]=$least
    done
  done
  printf '%d' "${row[${#b}]}"
}

# nearest_name NAME: prints the name of the list that is spelled most like it.
nearest_name() {
  local name distance nearest="" least=1000
  for name in "${wan_names[@]}"; do
    # A beginning, such as WAN_CKPT. WAN_ alone would match all.
    if [[ ${#1} -gt 6 && $name == "$1"* ]]; then
      printf '%s' "$name"
      return
    fi
    distance=$(edit_distance "$1" "$name")
    if ((distance < least)); then least=$distance nearest=$name; fi
  done
  printf '%s' "$nearest"
}

# unknown_names: prints the exported variables that begin with WAN_ and are not in the list, one a line.
unknown_names() {
  local name known=" ${wan_names[*]} "
  compgen -e WAN_ | while IFS= read -r name; do
    case $known in *" $name "*) ;; *) printf '%s\n' "$name" ;; esac
  done
}

# A misspelled setting would be ignored, and the job would do something else than its user asked for.
require_known_names() {
  local name
  for name in $(unknown_names); do
    die "there is no setting $name; did you mean $(nearest_name "$name")? To keep a variable of your own, give it a name without WAN_"
  done
}
