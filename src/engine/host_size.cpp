#include "engine/host_size.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "core/check.h"

namespace wan::engine {
namespace {

constexpr std::int64_t latent_copies = 3;  // the sample, its prediction, what the solver remembers
constexpr std::int64_t float_bytes = 4;
constexpr std::int64_t decoder_copies = 2;  // what goes into a layer and what comes out

/// A number in a file; nothing if there is none ("max" for no limit).
std::int64_t number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::int64_t number = 0;
  return file >> number ? number : std::numeric_limits<std::int64_t>::max();
}

/// The smallest limit of this process's control group and those around it, of both versions.
std::int64_t group_limit_bytes() {
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/a/b" or "5:memory:/a/b"
    const std::size_t path_begin = line.rfind(':');
    const bool is_second = line.starts_with("0::");
    if (path_begin == std::string::npos || (!is_second && line.find("memory") == std::string::npos)) continue;
    const std::filesystem::path root = is_second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char* name = is_second ? "memory.max" : "memory.limit_in_bytes";
    std::filesystem::path group = std::filesystem::path(line.substr(path_begin + 1)).relative_path();
    while (true) {
      limit = std::min(limit, number_in(root / group / name));
      if (group.empty()) break;
      group = group.parent_path();
    }
  }
  return limit;
}

double gibibytes(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

}  // namespace

std::int64_t least_host_bytes(const Request& request, PixelSize size, const model::ModelKind& kind,
                              const HostUse& use) {
  const model::VideoGeometry& geometry = kind.geometry;
  const std::int64_t pixels = std::int64_t{size.width} * size.height;
  const auto [one, frames, height, width] = geometry.latent_shape(1, request.frame_num, size);
  const std::int64_t latents = frames * height * width;
  std::int64_t bytes = 3 * pixels * request.frame_num + geometry.latent_channels * latents * float_bytes;
  if (use.computes) {
    bytes +=
        (geometry.latent_channels * (latent_copies - 1) + kind.condition_channels) * latents * float_bytes;
    bytes += decoder_copies * geometry.frames_per_latent * pixels * use.vae_width * float_bytes;
  }
  return bytes;
}

std::int64_t host_limit_bytes() {
  std::int64_t limit = std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  limit = std::min(limit, group_limit_bytes());
  rlimit address_space{};
  if (::getrlimit(RLIMIT_AS, &address_space) == 0 && address_space.rlim_cur != RLIM_INFINITY) {
    limit = std::min(limit, static_cast<std::int64_t>(address_space.rlim_cur));
  }
  return limit;
}

void require_host_memory(const Request& request, PixelSize size, const model::ModelKind& kind,
                         const HostUse& use, std::int64_t limit_bytes) {
  const std::int64_t bytes = least_host_bytes(request, size, kind, use);
  if (bytes <= limit_bytes) return;
  fail_item(
      "memory",
      "a video of {}x{} with {} frames takes at least {:.1f} GiB of the host's memory, and a process can "
      "have {:.1f} GiB here; use a smaller size or fewer frames",
      size.width, size.height, request.frame_num, gibibytes(bytes), gibibytes(limit_bytes));
}

}  // namespace wan::engine
