# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # read and set by the other files of slurm/
# The nodes, GPUs and cores of the job, and the check that none of them is paid for in vain. Source it.

# Sets job_nodes, gpus_per_node, cores_per_node (of this node; the others are alike) and cores_per_rank.
read_places() {
  job_nodes=${SLURM_JOB_NUM_NODES:-1} gpus_per_node=0
  local gpus=${SLURM_GPUS_ON_NODE-} list=${SLURM_JOB_GPUS-} cores=${SLURM_JOB_CPUS_PER_NODE:-${SLURM_CPUS_ON_NODE:-$(nproc)}}
  if [[ ${gpus##*:} =~ ^[0-9]+$ ]]; then
    gpus_per_node=${gpus##*:}
  elif [ -n "$list" ]; then
    list=${list//[^,]/}
    gpus_per_node=$((${#list} + 1))
  fi
  cores_per_node=${cores%%[(,]*}
  cores_per_rank=${SLURM_CPUS_PER_TASK:-1}
}

# Sets ranks and ranks_per_node: 8 for Slurm's "8(x2)".
read_tasks_per_node() {
  local text=${SLURM_TASKS_PER_NODE:-1}
  [[ $text != *,* ]] || die "the nodes of this job have different numbers of tasks ($text); ask for --ntasks-per-node"
  ranks_per_node=${text%%(*} ranks=${SLURM_NTASKS:-1}
  if ((ranks < ranks_per_node)); then ranks_per_node=$ranks; fi
}

# plural COUNT WORD: "1 GPU", "2 GPUs".
plural() { if [ "$1" -eq 1 ]; then printf '1 %s' "$2"; else printf '%s %ss' "$1" "$2"; fi; }

# require_work_for_all DEVICE: every node and every GPU of the job has a rank. DEVICE is the value of --device.
require_work_for_all() {
  local used=$(((ranks + ranks_per_node - 1) / ranks_per_node))
  if ((used < job_nodes)); then
    die "the job has $job_nodes nodes and $(plural "$ranks" rank), so $(plural $((job_nodes - used)) node) would stay idle." \
      "Ask for tasks on every node (sbatch --ntasks-per-node=N, without --ntasks), or for --nodes=$used"
  fi
  if [ "$1" = cpu ]; then
    ((gpus_per_node == 0)) || say "--device cpu: the job's $((gpus_per_node * job_nodes)) GPUs are not used"
  elif ((gpus_per_node > ranks_per_node)); then
    die "each node of the job has $(plural "$gpus_per_node" GPU) and $(plural "$ranks_per_node" rank), so" \
      "$(plural $(((gpus_per_node - ranks_per_node) * job_nodes)) GPU) would stay idle." \
      "Ask for one task per GPU: sbatch --ntasks-per-node=$gpus_per_node, or --gpus-per-node=$ranks_per_node"
  elif ((gpus_per_node > 0 && gpus_per_node < ranks_per_node)); then
    die "each node of the job has $(plural "$gpus_per_node" GPU) and $ranks_per_node ranks, and a rank needs a GPU of its own." \
      "Ask for one task per GPU: sbatch --ntasks-per-node=$gpus_per_node, or --gpus-per-node=$ranks_per_node; --device cpu needs no GPU"
  fi
}

# Names the cores that the job has and no rank uses.
say_idle_cores() {
  local used=$((ranks_per_node * cores_per_rank))
  if [ "$bind" = cores ] && ((used < cores_per_node)); then
    say "$((cores_per_node - used)) of the $cores_per_node cores of each node have no rank, because WAN_BIND=cores gives each rank" \
      "--cpus-per-task=$cores_per_rank; without WAN_BIND the ranks divide all of them"
  fi
}

# With --gpus-per-task each rank would see one GPU, and could not reach the others' memory. Slurm 24 has the binding in SLURM_TRES_BIND alone.
# The variables are taken away, because with --gpu-bind=none the ranks of a node without control groups would see the GPUs of other jobs.
show_all_gpus() {
  [ -n "${SLURM_GPUS_PER_TASK-}${SLURM_GPU_BIND-}${SLURM_TRES_BIND-}" ] || return 0
  say "--gpus-per-task or --gpu-bind is set; the ranks see all GPUs that the job has on their node all the same"
  unset SLURM_GPUS_PER_TASK SLURM_TRES_BIND SLURM_GPU_BIND
}
