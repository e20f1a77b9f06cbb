#include "doctor/gpu_checks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "core/check.h"
#include "core/printable.h"
#include "gpu/architectures.h"
#include "gpu/gpu_signs.h"

namespace wan::doctor {
namespace {

constexpr double gib = 1 << 30;

GpuFacts gather_gpu(int index, int count) {
  GpuFacts facts;
  facts.index = index;
  try {
    facts.info = gpu::open_device(index);
    for (int peer = 0; peer < count; ++peer)
      if (peer != index && !gpu::can_access_peer(index, peer)) facts.unreachable.push_back(peer);
  } catch (const Error& error) {
    facts.error = error.what();
  }
  return facts;
}

Finding check_presence(const GpusFacts& facts) {
  if (!facts.is_built_in && facts.has_driver) {
    return warn("GPUs", "this machine has an NVIDIA driver, but this program was built without GPU code",
                "build it on a machine with nvcc 13: cmake --preset default -DWAN_CUDA=ON");
  }
  if (!facts.is_built_in) {
    return warn("GPUs", "none: this program was built without GPU code and computes on the CPU",
                "enough for toy models; for the 14B model build and run it on a machine with GPUs");
  }
  if (facts.visible.count > 0) return ok("GPUs", fmt::format("{} visible", facts.visible.count));
  if (facts.has_driver) {
    return bad("GPUs", "none can be used: " + facts.visible.reason,
               "run nvidia-smi; then look at CUDA_VISIBLE_DEVICES, the job's --gpus and the driver");
  }
  return warn("GPUs", "no NVIDIA driver on this machine: the program computes on the CPU",
              "enough for toy models; for the 14B model run it on a machine with GPUs");
}

Finding check_gpu(const GpusFacts& facts, const GpuFacts& gpu) {
  const std::string check = fmt::format("GPU {}", gpu.index);
  if (!gpu.info)
    return bad(check, gpu.error, "nvidia-smi -q -i " + std::to_string(gpu.index) + " tells more");
  const gpu::DeviceInfo& info = *gpu.info;
  const std::string found =
      fmt::format("{}, compute capability {}.{}, {:.1f} of {:.1f} GiB free", info.name, info.compute_major,
                  info.compute_minor, static_cast<double>(info.free_bytes) / gib,
                  static_cast<double>(info.total_bytes) / gib);
  if (!gpu::has_code_for(facts.code_for, info.compute_major, info.compute_minor)) {
    return bad(check,
               found + fmt::format("; this program has code for {} only",
                                   gpu::describe_architectures(facts.code_for)),
               fmt::format("build again with -DWAN_CUDA_ARCHITECTURES={}{}-real", info.compute_major,
                           info.compute_minor));
  }
  // A context and a display take a few hundred MiB.
  constexpr double mostly_free = 0.93;
  if (static_cast<double>(info.free_bytes) < mostly_free * static_cast<double>(info.total_bytes)) {
    return warn(check, found + ": other processes use it",
                "nvidia-smi shows the processes; end them or request GPUs for this job alone (--exclusive)");
  }
  return ok(check, found);
}

Finding check_driver(const GpusFacts& facts) {
  const auto text = [](int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); };
  const std::string found = fmt::format("the driver supports CUDA {}, LibTorch brings {}",
                                        text(facts.versions.driver), text(facts.versions.runtime));
  if (facts.versions.driver >= facts.versions.runtime) return ok("CUDA driver", found);
  if (facts.versions.driver / 1000 < facts.versions.runtime / 1000) {
    return bad("CUDA driver", found,
               "update the NVIDIA driver to one that supports CUDA " + text(facts.versions.runtime));
  }
  return warn("CUDA driver", found + ": functions of newer versions are missing", "update the NVIDIA driver");
}

Finding check_peers(const GpusFacts& facts) {
  std::vector<std::string> pairs;
  for (const GpuFacts& gpu : facts.gpus)
    for (const int peer : gpu.unreachable) pairs.push_back(fmt::format("{}-{}", gpu.index, peer));
  if (pairs.empty()) return ok("peer access", "the GPUs access each other's memory directly");
  return bad(
      "peer access", fmt::format("GPUs cannot access each other's memory: {}", fmt::join(pairs, ", ")),
      "nvidia-smi topo -m; a container may hide it, IOMMU or ACS may block it; NCCL_P2P_DISABLE=1 accepts "
      "slow transfers");
}

}  // namespace

GpusFacts gather_gpus(std::optional<int> only) {
  GpusFacts facts;
  facts.is_built_in = gpu::is_built_in();
  std::error_code error;
  facts.has_driver = std::filesystem::exists("/proc/driver/nvidia/version", error);
  facts.code_for = gpu::built_architectures();
  facts.visible = gpu::visible_gpus();
  facts.versions = gpu::cuda_versions();
  for (int index = 0; index < facts.visible.count; ++index)
    if (!only || *only == index) facts.gpus.push_back(gather_gpu(index, facts.visible.count));
  return facts;
}

std::vector<Finding> check_gpus(const GpusFacts& facts) {
  std::vector<Finding> findings{check_presence(facts)};
  if (facts.visible.count == 0) return findings;
  findings.push_back(check_driver(facts));
  for (const GpuFacts& gpu : facts.gpus) findings.push_back(check_gpu(facts, gpu));
  if (facts.visible.count > 1) findings.push_back(check_peers(facts));
  return findings;
}

std::vector<Finding> check_hidden_gpus(const std::string& signs, int visible_gpus,
                                       const std::string& reason) {
  if (signs.empty() || visible_gpus > 0) return {};
  return {bad(
      "GPUs for this job",
      fmt::format("{} says that there are GPUs, and this program sees none: {}", signs, printable(reason)),
      gpu::remedy_of_hidden_gpus())};
}

}  // namespace wan::doctor
