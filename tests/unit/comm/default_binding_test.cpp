#include "comm/mpi/default_binding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/temp_dir.h"

namespace wan::comm {
namespace {

using ::testing::Optional;

/// A /proc in which the program, process 30, has one core of the eight that its launcher has.
class DefaultBinding : public ::testing::Test {
 protected:
  DefaultBinding() {
    add("1", "systemd", "0", "0-63");
    add("10", "mpirun", "1", "0-7");
    add("30", "wan_batch", "10", "3");
  }

  void add(const std::string& process, const std::string& name, const std::string& parent,
           const std::string& cpus) {
    std::filesystem::create_directories(folder_.path() / process);
    std::ofstream(folder_.path() / process / "status")
        << "Name:\t" << name << "\nUmask:\t0022\nPPid:\t" << parent
        << "\nCpus_allowed:\tff\nCpus_allowed_list:\t" << cpus << "\n";
  }

  std::optional<std::set<int>> find(Environment more = {}) const {
    more.emplace("OMPI_COMM_WORLD_SIZE", "2");
    return cpus_before_default_binding(more, folder_.path(), "30");
  }

  test::TempDir folder_;
};

const std::set<int> eight{0, 1, 2, 3, 4, 5, 6, 7};

TEST_F(DefaultBinding, IsUndoneUpToTheLaunchersCpus) { EXPECT_THAT(find(), Optional(eight)); }

TEST_F(DefaultBinding, IsFoundUnderScriptsAndDaemons) {
  add("10", "orted", "1", "0-7");
  add("20", "bash", "10", "3");
  add("30", "wan_batch", "20", "3");
  EXPECT_THAT(find(), Optional(eight));
}

TEST_F(DefaultBinding, OversubscribeIsNoChoiceOfCores) {
  EXPECT_THAT(find({{"OMPI_MCA_rmaps_base_oversubscribe", "1"}}), Optional(eight));
}

TEST_F(DefaultBinding, AChoiceStays) {
  for (const char* name : {"OMPI_MCA_hwloc_base_binding_policy", "OMPI_MCA_rmaps_base_mapping_policy",
                           "PRTE_MCA_rmaps_default_mapping_policy", "PRTE_MCA_hwloc_default_binding_policy"})
    EXPECT_EQ(find({{name, "core"}}), std::nullopt) << name;
}

TEST_F(DefaultBinding, AnotherLauncherIsLeftAlone) {
  EXPECT_EQ(cpus_before_default_binding({}, folder_.path(), "30"), std::nullopt);
  add("10", "slurmstepd", "1", "0-7");
  EXPECT_EQ(find(), std::nullopt);
}

TEST_F(DefaultBinding, RanksThatAreNotBoundStay) {
  add("30", "wan_batch", "10", "0-7");
  EXPECT_EQ(find(), std::nullopt);
}

TEST_F(DefaultBinding, HiddenOrOddProcessesAreNoBinding) {
  add("10", "mpirun", "1", "all");
  EXPECT_EQ(find(), std::nullopt);
  add("30", "wan_batch", "77", "3");
  EXPECT_EQ(find(), std::nullopt);
  std::filesystem::remove(folder_.path() / "30" / "status");
  EXPECT_EQ(find(), std::nullopt);
}

}  // namespace
}  // namespace wan::comm
