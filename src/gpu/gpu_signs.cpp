#include "gpu/gpu_signs.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/printable.h"

namespace wan::gpu {
namespace {

/// Whether the value of one of Slurm's variables names at least one GPU: "2", "gpu:h100:2", or a list of
/// indices, in which "0" is a GPU.
bool speaks_of_gpus(std::string_view name, std::string_view value) {
  if (value.empty()) return false;
  const bool is_list = name == "SLURM_JOB_GPUS" || name == "SLURM_STEP_GPUS";
  if (is_list) return value.find_first_of("0123456789") != std::string_view::npos;
  const std::size_t colon = value.rfind(':');
  return value.substr(colon == std::string_view::npos ? 0 : colon + 1) != "0";
}

}  // namespace

std::string signs_of_gpus(const Environment& environment, const std::filesystem::path& devices) {
  constexpr std::array names{"SLURM_JOB_GPUS",      "SLURM_STEP_GPUS",     "SLURM_GPUS_ON_NODE", "SLURM_GPUS",
                             "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK", "GPUS_ON_NODE"};
  for (const char* name : names) {
    const std::string value = value_of(environment, name);
    if (speaks_of_gpus(name, value)) return fmt::format("{}={}", name, printable(value, 80));
  }
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(devices, error)) {
    files.push_back(entry.path().filename().string());
  }
  std::ranges::sort(files);
  constexpr std::string_view prefix = "nvidia";
  for (const std::string& file : files) {
    const std::string_view number = std::string_view(file).substr(std::min(prefix.size(), file.size()));
    const bool is_device = file.starts_with(prefix) && !number.empty() &&
                           number.find_first_not_of("0123456789") == std::string_view::npos;
    if (is_device) return (devices / file).string();
  }
  return {};
}

std::string remedy_of_hidden_gpus() {
  return "look at CUDA_VISIBLE_DEVICES and `srun nvidia-smi`, give srun the job's own GPU options, and see "
         "in the program's version text whether it was built without CUDA";
}

}  // namespace wan::gpu
