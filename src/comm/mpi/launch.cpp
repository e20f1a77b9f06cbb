#include "comm/mpi/launch.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "core/printable.h"

namespace wan::comm {
namespace {

std::optional<std::int64_t> number(const Lookup& lookup, const char* name) {
  const auto text = lookup(name);
  if (!text) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < 0) return std::nullopt;
  return value;
}

bool has_any_pmi(const Lookup& lookup) {
  constexpr std::array names{
      "OMPI_COMM_WORLD_SIZE", "PMIX_RANK",  "PMIX_NAMESPACE", "PMI_RANK", "PMI_SIZE", "PMI_FD",
      "PMI_CONTROL_PORT",     "PALS_RANKID"};
  for (const char* name : names) {
    if (lookup(name)) return true;
  }
  return false;
}

bool is_in_slurm_step(const Lookup& lookup) {
  return lookup("SLURM_STEP_ID") || lookup("SLURM_STEPID") || lookup("SLURM_STEP_NUM_TASKS");
}

constexpr std::string_view remedy =
    "start the ranks by `srun --mpi=pmix` (`srun --mpi=list` shows whether Slurm has it) or by the mpirun of "
    "the program's own MPI";

/// Whether this process may call process_vm_readv() on itself. Open MPI reads other ranks' memory with it.
/// Containers refuse both.
bool can_read_memory_of_processes() {
  std::array<char, 1> from{'x'};
  std::array<char, 1> to{};
  const iovec local{.iov_base = to.data(), .iov_len = 1};
  const iovec remote{.iov_base = from.data(), .iov_len = 1};
  return ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0) == 1;
}

/// Whether PATH has a program of this name.
bool is_on_path(std::string_view program) {
  std::istringstream folders(environment_value("PATH").value_or(""));
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::filesystem::path place = std::filesystem::path(folder.empty() ? "." : folder) / program;
    if (::access(place.c_str(), X_OK) == 0) return true;
  }
  return false;
}

void set_unless_set(const char* name, const char* value) {
  ::setenv(name, value, 0);  // NOLINT(concurrency-mt-unsafe): no threads yet
}

}  // namespace

std::optional<std::string> environment_value(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): set before there are threads
  return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
}

Launch read_launch(const Lookup& lookup) {
  struct Source {
    const char* size;
    const char* rank;
    const char* launcher;
  };
  // mpirun inside a Slurm job inherits Slurm's variables. So mpirun's own variables come first.
  constexpr std::array sources{Source{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "mpirun"},
                               Source{"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun"},
                               Source{"PMI_SIZE", "PMI_RANK", "mpiexec"},
                               Source{"SLURM_NTASKS", "SLURM_PROCID", "Slurm"}};
  Launch launch;
  launch.is_in_slurm_step = is_in_slurm_step(lookup);
  launch.has_pmi = has_any_pmi(lookup);
  for (const Source& source : sources) {
    const auto ranks = number(lookup, source.size);
    if (!ranks || *ranks == 0) continue;
    launch.launcher = source.launcher;
    launch.ranks = *ranks;
    launch.rank = number(lookup, source.rank).value_or(0);
    break;
  }
  const bool has_launcher = !launch.launcher.empty() && launch.launcher != "Slurm";
  if (!has_launcher && launch.is_in_slurm_step) launch.launcher = "srun";
  return launch;
}

std::string describe_lonely_rank(const Launch& launch, int mpi_ranks) {
  if (launch.ranks <= 1 || mpi_ranks != 1) return {};
  if (launch.launcher == "Slurm") {
    return fmt::format(
        "this Slurm job has {} tasks (SLURM_NTASKS), but one rank was started, without a launcher: {}. If "
        "one rank is what you want: mpirun -np 1",
        launch.ranks, remedy);
  }
  if (launch.launcher == "srun") {
    return fmt::format(
        "srun started {} tasks, and MPI sees one rank in each: every task would make the whole batch. srun "
        "and the program's MPI do not speak the same PMIx: {}. If one rank is what you want: srun --ntasks=1",
        launch.ranks, remedy);
  }
  return fmt::format(
      "{} started {} processes, and MPI sees one rank in each: every process would make the whole batch. The "
      "launcher belongs to another MPI than the program: look at `which {}` and at the modules that are "
      "loaded",
      launch.launcher, launch.ranks, launch.launcher);
}

std::string describe_failed_start() {
  return fmt::format("MPI cannot be started in this Slurm step, which has no PMIx: {}", remedy);
}

std::string describe_temporary_folder(const Lookup& lookup) {
  std::string name;
  std::string folder = "/tmp";
  for (const char* candidate : {"TMPDIR", "TEMP", "TMP"}) {
    const auto value = lookup(candidate);
    if (!value) continue;
    name = candidate;
    folder = *value;
    break;
  }
  std::error_code error;
  if (std::filesystem::is_directory(folder, error) && ::access(folder.c_str(), W_OK | X_OK) == 0) return {};
  const std::string shown = printable(folder, 200);
  if (name.empty()) {
    return fmt::format("{} is not a writable folder, but MPI makes its files there: set TMPDIR", shown);
  }
  return fmt::format(
      "{}={} is not a writable folder, but MPI makes its files there: make that folder, or unset "
      "{}",
      name, shown, name);
}

void prepare_environment_for_mpi(const Launch& launch) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no threads yet
  if (!environment_value("HOME") && ::getpwuid(::geteuid()) == nullptr) set_unless_set("HOME", "/");
  if (!can_read_memory_of_processes()) {
    set_unless_set("OMPI_MCA_btl_vader_single_copy_mechanism", "none");  // Open MPI 4
    set_unless_set("OMPI_MCA_smsc", "^cma");                             // Open MPI 5
  }
  // Not OMPI_MCA_ess_singleton_isolated: all such processes of a user share one folder under /tmp, and break
  // each other's start.
  if (!launch.has_pmi && !is_on_path("ssh") && !is_on_path("rsh"))
    set_unless_set("OMPI_MCA_plm_rsh_agent", "/bin/sh");  // Open MPI 4
}

}  // namespace wan::comm
