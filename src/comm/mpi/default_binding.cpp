#include "comm/mpi/default_binding.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <string_view>

#include "core/cpu_list.h"

namespace wan::comm {
namespace {

/// mpirun itself, or its daemon on another node. Open MPI 5 has PRRTE's.
constexpr std::array<std::string_view, 6> launchers = {"mpirun", "mpiexec", "orterun",
                                                       "orted",  "prterun", "prted"};
/// Options about binding and mapping reach the ranks as variables that begin so.
constexpr std::array<std::string_view, 4> choices = {"OMPI_MCA_hwloc_", "OMPI_MCA_rmaps_", "PRTE_MCA_hwloc_",
                                                     "PRTE_MCA_rmaps_"};
/// This one changes how many ranks may be started, not where they run.
constexpr std::string_view oversubscribe = "OMPI_MCA_rmaps_base_oversubscribe";
constexpr int most_ancestors = 8;  ///< scripts between the launcher and the program

struct ProcessStatus {
  std::string name;
  std::string parent;
  std::string cpus;
};

/// Nothing if the process is gone, or another user's where these are hidden.
std::optional<ProcessStatus> read_status(const std::filesystem::path& file) {
  std::ifstream stream(file);
  ProcessStatus status;
  for (std::string line; std::getline(stream, line);) {
    const auto value = [&](std::string_view key) -> std::optional<std::string> {
      if (!line.starts_with(key)) return std::nullopt;
      const std::size_t begin = line.find_first_not_of(" \t", key.size());
      return begin == std::string::npos ? std::string() : line.substr(begin);
    };
    if (const auto name = value("Name:")) status.name = *name;
    if (const auto parent = value("PPid:")) status.parent = *parent;
    if (const auto cpus = value("Cpus_allowed_list:")) status.cpus = *cpus;
  }
  if (status.parent.empty() || status.cpus.empty()) return std::nullopt;
  return status;
}

bool somebody_chose(const Environment& environment) {
  return std::ranges::any_of(environment, [](const auto& variable) {
    return variable.first != oversubscribe && std::ranges::any_of(choices, [&](std::string_view beginning) {
             return variable.first.starts_with(beginning);
           });
  });
}

}  // namespace

std::optional<std::set<int>> cpus_before_default_binding(const Environment& environment,
                                                         const std::filesystem::path& processes,
                                                         const std::string& process) {
  if (value_of(environment, "OMPI_COMM_WORLD_SIZE").empty() || somebody_chose(environment))
    return std::nullopt;
  const auto own = read_status(processes / process / "status");
  if (!own) return std::nullopt;
  std::string ancestor = own->parent;
  for (int i = 0; i < most_ancestors; ++i) {
    const auto status = read_status(processes / ancestor / "status");
    if (!status) return std::nullopt;
    if (std::ranges::find(launchers, status->name) != launchers.end()) {
      std::set<int> before = parse_cpu_list(status->cpus);
      if (before.empty() || before == parse_cpu_list(own->cpus)) return std::nullopt;
      return before;
    }
    ancestor = status->parent;
  }
  return std::nullopt;
}

}  // namespace wan::comm
