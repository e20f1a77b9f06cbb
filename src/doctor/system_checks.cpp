#include "doctor/system_checks.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "comm/mpi/default_binding.h"
#include "core/check.h"
#include "core/cpu_list.h"

namespace wan::doctor {
namespace {

constexpr std::uint64_t mib = 1U << 20;
constexpr std::uint64_t gib = 1U << 30;

std::string limit_text(const Limit& bytes) { return bytes ? bytes_text(*bytes) : "unlimited"; }

Limit limit_of(int resource) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return std::nullopt;
  return limit.rlim_cur;
}

std::uint64_t available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::uint64_t kibibytes = 0;
  for (std::string unit; file >> key >> kibibytes; std::getline(file, unit))
    if (key == "MemAvailable:") return kibibytes * 1024;
  return 0;
}

/// memory.max of the process's control group (version 2) or of a group above it: the smallest value.
std::optional<std::uint64_t> cgroup_limit_bytes() {
  std::ifstream file("/proc/self/cgroup");
  std::optional<std::uint64_t> least;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("0::/")) continue;
    std::filesystem::path group = "/sys/fs/cgroup" + line.substr(3);
    for (; group != "/sys/fs" && group.has_relative_path(); group = group.parent_path()) {
      std::uint64_t bytes = 0;
      if (std::ifstream(group / "memory.max") >> bytes && bytes > 0)
        least = std::min(least.value_or(bytes), bytes);
    }
  }
  return least;
}

Finding check_memory(const SystemFacts& facts) {
  // Loading and encoding took at most 1.3 GiB on each rank (analysis/results/gpu_h200.md).
  constexpr std::uint64_t needed = 2 * gib;
  const std::uint64_t bytes =
      std::min(facts.available_bytes, facts.cgroup_limit_bytes.value_or(facts.available_bytes));
  const std::uint64_t per_rank = bytes / static_cast<std::uint64_t>(std::max(1, facts.local_ranks));
  const std::string found = fmt::format("{} for each of {} rank{} here{}", bytes_text(per_rank),
                                        facts.local_ranks, facts.local_ranks == 1 ? "" : "s",
                                        bytes < facts.available_bytes ? ", by the job's limit" : "");
  if (per_rank < needed) {
    return warn("host memory", found,
                "request more (Slurm: --mem), start fewer ranks, or end programs that use it; a rank needs "
                "about 2 GiB, and 57 GiB more if an expert is kept on the host");
  }
  return ok("host memory", found);
}

Finding check_locked_memory(const SystemFacts& facts) {
  const std::string found = limit_text(facts.locked_bytes);
  if (!facts.locked_bytes || *facts.locked_bytes >= gib || !facts.has_infiniband)
    return ok("locked memory", found);
  return warn("locked memory", found + ", but InfiniBand needs locked buffers",
              "ulimit -l unlimited (limits.conf; for Slurm LimitMEMLOCK=infinity of slurmd)");
}

Finding check_open_files(const SystemFacts& facts) {
  constexpr std::uint64_t few = 1024;
  constexpr std::uint64_t too_few = 128;
  const std::string found = facts.open_files ? fmt::format("{} open files", *facts.open_files) : "unlimited";
  if (!facts.open_files || *facts.open_files >= few) return ok("open files", found);
  const char* remedy =
      "ulimit -n 4096: checkpoint shards, the trace and sockets of NCCL and MPI need open files";
  return *facts.open_files < too_few ? bad("open files", found, remedy) : warn("open files", found, remedy);
}

Finding check_stack(const SystemFacts& facts) {
  const std::string found = limit_text(facts.stack_bytes);
  if (!facts.stack_bytes || *facts.stack_bytes >= 8 * mib) return ok("stack", found);
  return warn("stack", found, "ulimit -s 8192");
}

Finding check_shm(const SystemFacts& facts) {
  const char* remedy =
      "docker run --shm-size=8g (or --ipc=host); on a host: mount -o remount,size=50% /dev/shm";
  if (!facts.shm_total_bytes) {
    return bad("/dev/shm", "does not exist, but MPI and NCCL share memory in it",
               "mount a tmpfs on /dev/shm");
  }
  const std::string found =
      fmt::format("{} of {} free", bytes_text(facts.shm_free_bytes), bytes_text(*facts.shm_total_bytes));
  // The shared segments of NCCL and Open MPI take some ten MiB for each pair of ranks.
  if (facts.shm_free_bytes < 16 * mib) return bad("/dev/shm", found, remedy);
  if (facts.shm_free_bytes < 512 * mib && facts.local_ranks > 1) return warn("/dev/shm", found, remedy);
  return ok("/dev/shm", found);
}

Finding check_cores(const SystemFacts& facts) {
  const std::string found = fmt::format("{} rank{} on {} cores, this rank may use {}", facts.local_ranks,
                                        facts.local_ranks == 1 ? "" : "s", facts.cores, facts.bound_cores);
  if (facts.local_ranks > facts.cores)
    return warn("CPU cores", found, "start at most one rank per core (and per GPU)");
  const int share = facts.cores / std::max(1, facts.local_ranks);
  if (facts.bound_cores == 1 && share > 1) {
    return warn(
        "CPU cores", found + ": reading the checkpoint and encoding H.264 use several cores",
        fmt::format("mpirun --map-by slot:PE={} --bind-to core, or srun --cpus-per-task={}", share, share));
  }
  if (facts.omp_threads && *facts.omp_threads > facts.bound_cores) {
    return warn("CPU cores", fmt::format("{}, and OMP_NUM_THREADS={}", found, *facts.omp_threads),
                "unset OMP_NUM_THREADS: the program uses the cores that it is bound to");
  }
  return ok("CPU cores", found);
}

}  // namespace

SystemFacts gather_system(const Environment& environment, int local_ranks) {
  SystemFacts facts;
  facts.available_bytes = available_memory_bytes();
  facts.cgroup_limit_bytes = cgroup_limit_bytes();
  facts.locked_bytes = limit_of(RLIMIT_MEMLOCK);
  facts.open_files = limit_of(RLIMIT_NOFILE);
  facts.stack_bytes = limit_of(RLIMIT_STACK);
  struct statvfs shm {};
  if (::statvfs("/dev/shm", &shm) == 0) {
    facts.shm_total_bytes = static_cast<std::uint64_t>(shm.f_blocks) * shm.f_frsize;
    facts.shm_free_bytes = static_cast<std::uint64_t>(shm.f_bavail) * shm.f_frsize;
  }
  std::error_code error;
  facts.has_infiniband = std::filesystem::exists("/sys/class/infiniband", error) &&
                         !std::filesystem::is_empty("/sys/class/infiniband", error);
  facts.cores = std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
  // A run divides the cores of ranks that mpirun bound by its default.
  const auto divided = comm::cpus_before_default_binding(environment, "/proc", "self");
  const auto cpus = static_cast<int>(
      divided ? divided->size() / static_cast<std::size_t>(std::max(1, local_ranks)) : own_cpus().size());
  facts.bound_cores = cpus > 0 ? cpus : facts.cores;
  facts.local_ranks = local_ranks;
  facts.omp_threads = number_of(environment, "OMP_NUM_THREADS");
  return facts;
}

std::vector<Finding> check_host(const SystemFacts& facts) { return {check_memory(facts), check_shm(facts)}; }

std::vector<Finding> check_process(const SystemFacts& facts) {
  return {check_locked_memory(facts), check_open_files(facts), check_stack(facts), check_cores(facts)};
}

}  // namespace wan::doctor
