#include "doctor/environment.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "core/check.h"
#include "core/strings.h"

namespace wan::doctor {
namespace {

/// A variable, the values of it that do harm, and the remedy.
struct Harm {
  std::string_view name;
  bool (*hurts)(std::string_view value);
  std::string_view why;
  std::string_view remedy;
};

bool is_set(std::string_view /*value*/) { return true; }
bool is_on(std::string_view value) { return value != "0" && value != "false" && value != "off"; }
bool is_off(std::string_view value) { return value == "0"; }
bool floods(std::string_view value) { return value == "TRACE" || value == "INFO"; }
bool is_local(std::string_view value) {
  return value.starts_with("lo") || value.starts_with("docker") || value.starts_with("virbr");
}
bool is_no_folder(std::string_view value) {
  const std::string folder(value);
  std::error_code error;
  return !std::filesystem::is_directory(folder, error) || ::access(folder.c_str(), W_OK | X_OK) != 0;
}
/// Whether a list of transports lacks those within a node. A list of exclusions does not count.
bool lacks_local_transports(std::string_view value) {
  if (value.starts_with('^')) return value.find("self") != std::string_view::npos;
  const bool has_shared =
      value.find("vader") != std::string_view::npos || value.find("sm") != std::string_view::npos;
  return value.find("self") == std::string_view::npos || !has_shared;
}

constexpr std::array harms{
    Harm{"NCCL_P2P_DISABLE", is_on, "every byte between GPUs goes through host memory",
         "unset NCCL_P2P_DISABLE, unless the GPUs cannot reach each other"},
    Harm{"NCCL_SHM_DISABLE", is_on, "ranks of one node communicate over the network",
         "unset NCCL_SHM_DISABLE"},
    Harm{"NCCL_IB_DISABLE", is_on, "nodes communicate over TCP",
         "unset NCCL_IB_DISABLE, if there is InfiniBand or RoCE"},
    Harm{"NCCL_SOCKET_IFNAME", is_local, "names an interface that other nodes cannot reach",
         "unset NCCL_SOCKET_IFNAME or name the interface that all nodes share"},
    Harm{"NCCL_ALGO", is_set, "NCCL may not choose by size", "unset NCCL_ALGO"},
    Harm{"NCCL_PROTO", is_set, "NCCL may not choose by size", "unset NCCL_PROTO"},
    Harm{"NCCL_CUMEM_ENABLE", is_off,
         "the copy engines cannot move weights and sequences while kernels compute",
         "unset NCCL_CUMEM_ENABLE"},
    Harm{"NCCL_DEBUG", floods, "NCCL writes a line for every call", "NCCL_DEBUG=WARN"},
    Harm{"CUDA_LAUNCH_BLOCKING", is_on, "the host waits for every kernel", "unset CUDA_LAUNCH_BLOCKING"},
    Harm{"PYTORCH_NO_CUDA_MEMORY_CACHING", is_on, "every tensor is allocated by the driver",
         "unset PYTORCH_NO_CUDA_MEMORY_CACHING"},
    Harm{"PYTORCH_CUDA_ALLOC_CONF", is_set, "replaces this program's own setting (expandable_segments:True)",
         "unset PYTORCH_CUDA_ALLOC_CONF, or add expandable_segments:True to it"},
    Harm{"PYTORCH_ALLOC_CONF", is_set, "replaces this program's own setting (expandable_segments:True)",
         "unset PYTORCH_ALLOC_CONF, or add expandable_segments:True to it"},
    Harm{"OMPI_MCA_btl", lacks_local_transports,
         "ranks of one node communicate over the network or not at all",
         "unset OMPI_MCA_btl, or add self and vader (sm in Open MPI 5) to it"},
    Harm{"OMPI_MCA_pml", is_set, "Open MPI may not choose its transport",
         "unset OMPI_MCA_pml, unless the site needs it"},
    Harm{"TMPDIR", is_no_folder, "is not a writable folder, but MPI makes its files there",
         "make that folder, or unset TMPDIR"},
    Harm{"LD_PRELOAD", is_set, "loads code between this program and its libraries", "unset LD_PRELOAD"},
};

}  // namespace

std::vector<Finding> check_environment(const Environment& environment) {
  std::vector<Finding> findings;
  for (const Harm& harm : harms) {
    const std::string value = value_of(environment, harm.name);
    const bool allows = value.find("expandable_segments:True") != std::string::npos;
    if (value.empty() || allows || !harm.hurts(value)) continue;
    findings.push_back(warn("environment",
                            fmt::format("{}={}: {}", harm.name, printable(value, 80), harm.why),
                            std::string(harm.remedy)));
  }
  if (findings.empty())
    findings.push_back(ok("environment", "no harmful variable of NCCL, CUDA or MPI is set"));
  return findings;
}

}  // namespace wan::doctor
