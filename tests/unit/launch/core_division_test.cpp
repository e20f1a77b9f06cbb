#include "launch/core_division.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "core/check.h"
#include "core/cpu_list.h"
#include "support/temp_dir.h"

namespace wan::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// A node as a site describes it. Hardware thread k of core c has number c + k * cores, as Linux numbers
/// them.
struct NodeType {
  const char* name;
  int sockets;
  int numa_per_socket;
  int cores_per_numa;
  int threads;
  std::vector<int> gpu_numa;  ///< by the driver's number
};

// All written from the sites' and makers' pages. tests/data/sysfs has machines that were recorded.
const std::vector<NodeType>& node_types() {
  static const std::vector<NodeType> types{
      // NVIDIA DGX H100/H200 user guide: two Xeon 8480C, 56 cores each, four GPUs on each socket.
      {"dgx_h100", 2, 1, 56, 2, {0, 0, 0, 0, 1, 1, 1, 1}},
      // NVIDIA DGX A100 user guide: two EPYC 7742 with four NUMA nodes each, GPU pairs on 3, 1, 7 and 5.
      {"dgx_a100", 2, 4, 16, 2, {3, 3, 1, 1, 7, 7, 5, 5}},
      // LUMI's pages on GPU nodes: one EPYC 7A53, pairs of GCDs on NUMA nodes 3, 1, 0 and 2.
      {"lumi_g", 1, 4, 16, 2, {3, 3, 1, 1, 0, 0, 2, 2}},
      // NERSC's pages on Perlmutter: one EPYC 7763, GPU 0 on NUMA node 3, GPU 3 on node 0.
      {"perlmutter", 1, 4, 16, 2, {3, 2, 1, 0}},
      // Juelich's pages on JUWELS Booster: two EPYC 7402 with four NUMA nodes each, GPUs on 3, 1, 7 and 5.
      {"juwels_booster", 2, 4, 6, 2, {3, 1, 7, 5}},
  };
  return types;
}

std::string bus_id(std::size_t gpu) { return fmt::format("0000:{:02x}:00.0", 16 + gpu); }

/// The node as files below a folder "sys".
class Tree {
 public:
  explicit Tree(const NodeType& type) : type_(type) {
    for (int core = 0; core < cores(); ++core) {
      for (int thread = 0; thread < type.threads; ++thread) {
        const std::string cpu = fmt::format("devices/system/cpu/cpu{}/topology/", core + thread * cores());
        put(cpu + "physical_package_id", fmt::format("{}", socket_of(core)));
        put(cpu + "thread_siblings_list",
            type.threads > 1 ? fmt::format("{},{}", core, core + cores()) : fmt::format("{}", core));
      }
    }
    for (int numa = 0; numa < type.sockets * type.numa_per_socket; ++numa)
      put(fmt::format("devices/system/node/node{}/cpulist", numa), cpu_list_text(cpus_of(numa)));
    for (std::size_t gpu = 0; gpu < type.gpu_numa.size(); ++gpu) {
      const std::string device = fmt::format("bus/pci/devices/{}/", bus_id(gpu));
      put(device + "numa_node", fmt::format("{}", type.gpu_numa[gpu]));
      put(device + "local_cpulist", cpu_list_text(cpus_of(type.gpu_numa[gpu])));
    }
  }

  int cores() const { return type_.sockets * type_.numa_per_socket * type_.cores_per_numa; }
  int numa_of(int cpu) const { return cpu % cores() / type_.cores_per_numa; }
  int socket_of(int cpu) const { return numa_of(cpu) / type_.numa_per_socket; }
  std::set<int> all() const {
    std::set<int> cpus;
    for (int cpu = 0; cpu < cores() * type_.threads; ++cpu) cpus.insert(cpu);
    return cpus;
  }
  /// The hardware threads of some of the cores.
  std::set<int> of_cores(int first, int count) const {
    std::set<int> cpus;
    for (int core = first; core < first + count; ++core) {
      for (int thread = 0; thread < type_.threads; ++thread) cpus.insert(core + thread * cores());
    }
    return cpus;
  }
  /// The division among one rank for each of these GPUs.
  std::vector<std::set<int>> divide(const std::set<int>& allowed,
                                    const std::vector<std::size_t>& gpus) const {
    std::vector<GpuPlace> places;
    for (const std::size_t gpu : gpus) places.push_back(read_gpu_place(path(), bus_id(gpu)));
    return divide_cores(read_cores(path(), allowed), places);
  }
  std::vector<std::size_t> gpus() const {
    std::vector<std::size_t> numbers(type_.gpu_numa.size());
    std::iota(numbers.begin(), numbers.end(), 0U);
    return numbers;
  }
  std::filesystem::path path() const { return folder_ / "sys"; }

 private:
  std::set<int> cpus_of(int numa) const {
    return of_cores(numa * type_.cores_per_numa, type_.cores_per_numa);
  }
  void put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path() / name).parent_path());
    std::ofstream(path() / name) << text << "\n";
  }

  NodeType type_;
  /// In memory, if possible: a node has hundreds of such files.
  struct MemoryFolder {
    MemoryFolder() {
      if (std::filesystem::is_directory("/dev/shm")) ::setenv("TMPDIR", "/dev/shm", 0);
    }
  };
  MemoryFolder memory_;
  test::TempDir folder_;
};

/// No two ranks share a core, all get at least one, and none gets what the job does not have.
void expect_disjoint(const Tree& tree, const std::vector<std::set<int>>& shares,
                     const std::set<int>& allowed) {
  std::set<int> cores;
  for (const std::set<int>& share : shares) {
    EXPECT_FALSE(share.empty());
    std::set<int> own;
    for (const int cpu : share) {
      EXPECT_TRUE(allowed.contains(cpu)) << cpu;
      own.insert(cpu % tree.cores());
    }
    for (const int core : own) EXPECT_TRUE(cores.insert(core).second) << "core " << core << " is shared";
  }
}

void expect_on_socket(const Tree& tree, const NodeType& type, const std::set<int>& share, std::size_t gpu) {
  for (const int cpu : share)
    EXPECT_EQ(tree.socket_of(cpu), type.gpu_numa[gpu] / type.numa_per_socket)
        << "GPU " << gpu << ", CPU " << cpu;
}

TEST(CoreDivision, AllGpusOfEachNodeType) {
  for (const NodeType& type : node_types()) {
    SCOPED_TRACE(type.name);
    const Tree tree(type);
    const auto shares = tree.divide(tree.all(), tree.gpus());
    ASSERT_EQ(shares.size(), type.gpu_numa.size());
    expect_disjoint(tree, shares, tree.all());
    std::size_t given = 0;
    for (std::size_t gpu = 0; gpu < shares.size(); ++gpu) {
      expect_on_socket(tree, type, shares[gpu], gpu);
      given += shares[gpu].size();
    }
    EXPECT_EQ(given, tree.all().size()) << "all cores of the job are given out";
  }
}

TEST(CoreDivision, TheGpusOwnNumaNodeComesFirst) {
  const Tree lumi(node_types()[2]);
  const auto shares = lumi.divide(lumi.all(), lumi.gpus());
  EXPECT_EQ(cpu_list_text(shares[0]), "48-55,112-119") << "half of NUMA node 3";
  EXPECT_EQ(cpu_list_text(shares[4]), "0-7,64-71") << "half of NUMA node 0";
  const Tree dgx(node_types()[1]);
  const std::set<int> first = dgx.divide(dgx.all(), dgx.gpus())[0];
  EXPECT_EQ(cpu_list_text(first), "0-7,48-55,128-135,176-183")
      << "half of node 3, and of node 0, which has no GPU";
}

TEST(CoreDivision, GpusOfOneSocketLeaveTheOtherSocketAlone) {
  const NodeType& type = node_types()[0];
  const Tree tree(type);
  const std::vector<std::size_t> second{4, 5, 6, 7};
  const auto shares = tree.divide(tree.all(), second);
  expect_disjoint(tree, shares, tree.all());
  for (std::size_t i = 0; i < second.size(); ++i) {
    EXPECT_EQ(shares[i].size(), 28U) << "14 cores";
    expect_on_socket(tree, type, shares[i], second[i]);
  }
}

TEST(CoreDivision, RanksWithoutCoresOnTheirSocketGetOthers) {
  for (const NodeType& type : {node_types()[0], node_types()[4]}) {
    SCOPED_TRACE(type.name);
    const Tree tree(type);
    const int half = static_cast<int>(type.gpu_numa.size()) / 2;
    const std::set<int> allowed = tree.of_cores(0, 8);  // on socket 0 only
    const auto shares = tree.divide(allowed, tree.gpus());
    ASSERT_EQ(shares.size(), type.gpu_numa.size());
    expect_disjoint(tree, shares, allowed);
    for (std::size_t gpu = 0; gpu < static_cast<std::size_t>(half); ++gpu)
      expect_on_socket(tree, type, shares[gpu], gpu);
  }
}

TEST(CoreDivision, ASocketWithTooFewCoresServesItsFirstRanks) {
  const NodeType& type = node_types()[0];
  const Tree tree(type);
  std::set<int> allowed = tree.of_cores(0, 2);  // two cores for four GPUs
  allowed.merge(tree.of_cores(56, 10));
  const auto shares = tree.divide(allowed, tree.gpus());
  expect_disjoint(tree, shares, allowed);
  for (const std::size_t gpu : {0U, 1U, 4U, 5U, 6U, 7U}) expect_on_socket(tree, type, shares[gpu], gpu);
}

TEST(CoreDivision, FewerCoresThanRanksAreNotDivided) {
  const Tree tree(node_types()[0]);
  EXPECT_THAT(tree.divide(tree.of_cores(0, 7), tree.gpus()), IsEmpty());
  EXPECT_EQ(tree.divide(tree.of_cores(0, 8), tree.gpus()).size(), 8U);
}

TEST(CoreDivision, RanksWithoutAKnownPlaceShareEvenly) {
  const Tree tree(node_types()[4]);
  const auto shares = divide_cores(read_cores(tree.path(), tree.of_cores(0, 5)), {{}, {}});
  EXPECT_THAT(shares, ElementsAre(tree.of_cores(0, 3), tree.of_cores(3, 2)));
  EXPECT_EQ(divide_cores(read_cores(tree.path(), tree.all()), {{}}).front(), tree.all())
      << "one rank has all";
  EXPECT_EQ(read_gpu_place(tree.path(), "00000000:10:00.0").numa, 3) << "the driver's form of an address";
  EXPECT_EQ(read_gpu_place(tree.path(), "0000:99:00.0").socket, -1) << "no such device";
  EXPECT_EQ(read_gpu_place(tree.path(), "").socket, -1);
  std::ofstream(tree.path() / "bus/pci/devices" / bus_id(0) / "numa_node")
      << "-1\n";  // as in virtual machines
  EXPECT_EQ(read_gpu_place(tree.path(), bus_id(0)).socket, -1);
}

/// Writes a recorded machine as files below `sys`. Returns the PCI addresses of its GPUs. The format is that
/// of tests/data/sysfs/README.md.
std::vector<std::string> unpack(const std::filesystem::path& record, const std::filesystem::path& sys) {
  std::vector<std::string> gpus;
  std::ifstream file(record);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find_last_of(':');
    if (line.starts_with('#') || colon == std::string::npos) continue;
    const std::filesystem::path path = sys / line.substr(0, colon);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << line.substr(colon + 1) << "\n";
    if (line.find("/class:0x03") != std::string::npos) gpus.push_back(path.parent_path().filename().string());
  }
  return gpus;
}

TEST(CoreDivision, RecordedMachines) {
  int machines = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(WAN_TEST_DATA) / "sysfs")) {
    if (entry.path().extension() != ".txt") continue;
    SCOPED_TRACE(entry.path().filename());
    const test::TempDir folder;
    const std::filesystem::path sys = folder.path() / "sys";
    const std::vector<std::string> gpus = unpack(entry.path(), sys);
    std::set<int> all;
    for (const auto& node : std::filesystem::directory_iterator(sys / "devices/system/node")) {
      std::ifstream file(node.path() / "cpulist");
      std::string list;
      std::getline(file, list);
      all.merge(parse_cpu_list(list));
    }
    const std::vector<Core> cores = read_cores(sys, all);
    ASSERT_FALSE(cores.empty());
    std::vector<GpuPlace> places(gpus.empty() ? 1 : gpus.size());
    for (std::size_t gpu = 0; gpu < gpus.size(); ++gpu) places[gpu] = read_gpu_place(sys, gpus[gpu]);
    const auto shares = divide_cores(cores, places);
    ASSERT_EQ(shares.size(), places.size());
    std::set<int> given;
    for (std::size_t rank = 0; rank < shares.size(); ++rank) {
      for (const int cpu : shares[rank])
        EXPECT_TRUE(given.insert(cpu).second) << "CPU " << cpu << " is shared";
      for (const Core& core : cores) {
        if (places[rank].socket >= 0 && shares[rank].contains(core.number)) {
          EXPECT_EQ(core.socket, places[rank].socket) << "GPU " << rank;
        }
      }
    }
    ++machines;
  }
  EXPECT_GE(machines, 1);
}

TEST(CoreDivision, AnEmptyTreeIsOneSocket) {
  const test::TempDir nothing;
  const auto shares = divide_cores(read_cores(nothing.path(), {0, 1, 2, 3}), {{}, {}});
  EXPECT_THAT(shares, ElementsAre(std::set<int>{0, 1}, std::set<int>{2, 3}));
}

TEST(CoreDivision, ListsOfTheKernel) {
  EXPECT_EQ(cpu_list_text(parse_cpu_list("0-3,8,10-11\n")), "0-3,8,10-11");
  for (const char* bad : {"", "x", "3-1", "-1", "1,,2", "0-99999999"})
    EXPECT_THAT(parse_cpu_list(bad), IsEmpty()) << bad;
}

}  // namespace
}  // namespace wan::launch
