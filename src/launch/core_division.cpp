#include "launch/core_division.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>

#include "core/cpu_list.h"

namespace wan::launch {
namespace {

/// The first line of a small file; files in /sys have no size. Empty if it cannot be read.
std::string line_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<int> number_from(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// The NUMA node of every hardware thread.
std::map<int, int> read_numa_nodes(const std::filesystem::path& sys) {
  std::map<int, int> numa_of;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(sys / "devices/system/node", error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("node")) continue;
    const auto node = number_from(std::string_view(name).substr(4));
    if (!node) continue;
    for (const int cpu : parse_cpu_list(line_of(entry.path() / "cpulist"))) numa_of[cpu] = *node;
  }
  return numa_of;
}

/// `count` shares of `total`, as even as possible; the first ones are larger.
std::vector<int> even_shares(int total, int count) {
  std::vector<int> shares(static_cast<std::size_t>(count), total / count);
  for (int i = 0; i < total % count; ++i) ++shares[static_cast<std::size_t>(i)];
  return shares;
}

/// Divides the cores of one socket, or any other list of them, among some of the ranks.
class Division {
 public:
  Division(const std::vector<Core>& cores, const std::vector<GpuPlace>& ranks)
      : cores_(cores), ranks_(ranks), given_(ranks.size()) {}

  /// Each of `members` gets an even share of `numbers`, which index the cores: first those of its NUMA node,
  /// which its neighbours there get as many of, and then what is left.
  void share(const std::vector<std::size_t>& numbers, const std::vector<std::size_t>& members) {
    if (members.empty()) return;
    const std::vector<int> quotas =
        even_shares(static_cast<int>(numbers.size()), static_cast<int>(members.size()));
    std::vector<std::size_t> left;
    std::vector<int> missing = quotas;
    std::map<int, std::vector<std::size_t>> by_numa;
    for (const std::size_t number : numbers) by_numa[cores_[number].numa].push_back(number);
    for (const auto& [numa, there] : by_numa) {
      const std::size_t taken = give_neighbours(numa, there, members, missing);
      left.insert(left.end(), there.begin() + static_cast<std::ptrdiff_t>(taken), there.end());
    }
    std::size_t next = 0;
    for (std::size_t i = 0; i < members.size(); ++i) {
      for (; missing[i] > 0; --missing[i]) give(members[i], left[next++]);
    }
  }

  std::vector<std::set<int>> take() { return std::move(given_); }

 private:
  /// Returns how many cores of one NUMA node its members got.
  std::size_t give_neighbours(int numa, const std::vector<std::size_t>& there,
                              const std::vector<std::size_t>& members, std::vector<int>& missing) {
    std::vector<std::size_t> neighbours;
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (ranks_[members[i]].numa == numa) neighbours.push_back(i);
    }
    if (neighbours.empty()) return 0;
    const std::vector<int> shares =
        even_shares(static_cast<int>(there.size()), static_cast<int>(neighbours.size()));
    std::size_t next = 0;
    for (std::size_t k = 0; k < neighbours.size(); ++k) {
      int& wanted = missing[neighbours[k]];
      for (int count = std::min(shares[k], wanted); count > 0; --count, --wanted) {
        give(members[neighbours[k]], there[next++]);
      }
    }
    return next;
  }

  void give(std::size_t rank, std::size_t core) {
    given_[rank].insert(cores_[core].cpus.begin(), cores_[core].cpus.end());
  }

  const std::vector<Core>& cores_;
  const std::vector<GpuPlace>& ranks_;
  std::vector<std::set<int>> given_;
};

/// The cores of a socket and the ranks that get them.
struct Socket {
  std::vector<std::size_t> cores;
  std::vector<std::size_t> ranks;
  double cores_per_rank_with_one_more() const {
    return static_cast<double>(cores.size()) / static_cast<double>(ranks.size() + 1);
  }
};

/// Sends each rank to its GPU's socket, and ranks that find no core there to the socket with the most room.
std::map<int, Socket> seat(const std::vector<Core>& cores, const std::vector<GpuPlace>& ranks) {
  std::map<int, Socket> sockets;
  for (std::size_t i = 0; i < cores.size(); ++i) sockets[cores[i].socket].cores.push_back(i);
  std::vector<std::size_t> homeless;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto own = sockets.find(ranks[rank].socket);
    if (own != sockets.end() && own->second.ranks.size() < own->second.cores.size()) {
      own->second.ranks.push_back(rank);
    } else {
      homeless.push_back(rank);
    }
  }
  for (const std::size_t rank : homeless) {
    const auto roomiest = std::ranges::max_element(
        sockets, {}, [](const auto& socket) { return socket.second.cores_per_rank_with_one_more(); });
    roomiest->second.ranks.push_back(rank);
  }
  return sockets;
}

}  // namespace

std::vector<Core> read_cores(const std::filesystem::path& sys, const std::set<int>& allowed) {
  const std::map<int, int> numa_of = read_numa_nodes(sys);
  std::map<int, Core> cores;
  for (const int cpu : allowed) {
    const auto topology = sys / "devices/system/cpu" / fmt::format("cpu{}", cpu) / "topology";
    const std::set<int> siblings = parse_cpu_list(line_of(topology / "thread_siblings_list"));
    const int number = siblings.empty() ? cpu : *siblings.begin();
    Core& core = cores[number];
    core.number = number;
    core.socket = std::max(number_from(line_of(topology / "physical_package_id")).value_or(0), 0);
    const auto numa = numa_of.find(cpu);
    core.numa = numa == numa_of.end() ? 0 : numa->second;
    core.cpus.push_back(cpu);
  }
  std::vector<Core> sorted;
  for (auto& [number, core] : cores) sorted.push_back(std::move(core));
  std::ranges::sort(sorted, {},
                    [](const Core& core) { return std::tuple(core.socket, core.numa, core.number); });
  return sorted;
}

GpuPlace read_gpu_place(const std::filesystem::path& sys, std::string bus_id) {
  std::ranges::transform(bus_id, bus_id.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::size_t usual_size = 12;  // "0000:1b:00.0"; the driver may write a domain of eight digits
  if (bus_id.size() > usual_size) bus_id.erase(0, bus_id.size() - usual_size);
  const std::filesystem::path device = sys / "bus/pci/devices" / bus_id;
  GpuPlace place;
  if (bus_id.empty()) return place;
  place.numa = number_from(line_of(device / "numa_node")).value_or(-1);
  const std::set<int> near = parse_cpu_list(line_of(device / "local_cpulist"));
  if (near.empty() || place.numa < 0) return {};
  const auto topology = sys / "devices/system/cpu" / fmt::format("cpu{}", *near.begin()) / "topology";
  place.socket = number_from(line_of(topology / "physical_package_id")).value_or(-1);
  return place;
}

std::vector<std::set<int>> divide_cores(const std::vector<Core>& cores, const std::vector<GpuPlace>& ranks) {
  if (cores.size() < ranks.size() || ranks.empty()) return {};
  Division division(cores, ranks);
  if (std::ranges::all_of(ranks, [](const GpuPlace& place) { return place.socket < 0; })) {
    std::vector<std::size_t> all(cores.size());
    std::iota(all.begin(), all.end(), 0U);
    std::vector<std::size_t> everyone(ranks.size());
    std::iota(everyone.begin(), everyone.end(), 0U);
    division.share(all, everyone);
    return division.take();
  }
  for (const auto& [number, socket] : seat(cores, ranks)) division.share(socket.cores, socket.ranks);
  return division.take();
}

}  // namespace wan::launch
