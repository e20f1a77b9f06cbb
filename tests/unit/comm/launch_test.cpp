#include "comm/mpi/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace wan::comm {
namespace {

using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

Launch launch_in(const Variables& variables) {
  return read_launch([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::optional<std::string>() : found->second;
  });
}

TEST(Launch, IsReadOffTheEnvironment) {
  EXPECT_EQ(launch_in({}).ranks, 1);
  EXPECT_EQ(launch_in({}).launcher, "");
  const Launch mpirun = launch_in({{"OMPI_COMM_WORLD_SIZE", "8"},
                                   {"OMPI_COMM_WORLD_RANK", "3"},
                                   {"SLURM_NTASKS", "2"},
                                   {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(mpirun.launcher, "mpirun");
  EXPECT_EQ(mpirun.ranks, 8);
  EXPECT_EQ(mpirun.rank, 3);
  EXPECT_TRUE(mpirun.is_one_of_several());
  const Launch pmix = launch_in({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "1"}, {"PMIX_RANK", "1"}});
  EXPECT_EQ(pmix.launcher, "srun");
  EXPECT_TRUE(pmix.is_one_of_several());
  EXPECT_EQ(launch_in({{"PMI_SIZE", "x"}}).ranks, 1);
}

TEST(Launch, AloneInASlurmStepWithoutPmix) {
  const Variables interactive{{"SLURM_JOB_ID", "7"},         {"SLURM_NODELIST", "n1"}, {"SLURM_STEP_ID", "0"},
                              {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_PROCID", "0"},    {"SLURM_NTASKS", "1"}};
  EXPECT_FALSE(launch_in(interactive).is_one_of_several());
  EXPECT_TRUE(launch_in(interactive).is_in_slurm_step);
  EXPECT_FALSE(launch_in(interactive).has_pmi);
  EXPECT_TRUE(launch_in({{"SLURM_STEP_ID", "0"}, {"PMIX_NAMESPACE", "x"}}).has_pmi);
  EXPECT_THAT(describe_failed_start(), HasSubstr("srun --mpi=pmix"));
  EXPECT_THAT(describe_failed_start(), HasSubstr("mpirun"));
}

TEST(Launch, OneRankWhereThereAreToBeSeveral) {
  for (const Variables& variables :
       {Variables{{"SLURM_NTASKS", "2"}}, Variables{{"SLURM_NTASKS", "2"}, {"SLURM_STEP_ID", "0"}},
        Variables{{"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_NTASKS", "2"}}}) {
    const Launch launch = launch_in(variables);
    EXPECT_THAT(describe_lonely_rank(launch, 1), HasSubstr("srun --mpi=pmix"));
    EXPECT_THAT(describe_lonely_rank(launch, 1), HasSubstr("mpirun"));
    EXPECT_EQ(describe_lonely_rank(launch, 2), "");
  }
  EXPECT_THAT(describe_lonely_rank(launch_in({{"OMPI_COMM_WORLD_SIZE", "4"}}), 1), HasSubstr("which mpirun"));
  EXPECT_EQ(describe_lonely_rank(launch_in({}), 1), "");
  // One rank in a larger job, on purpose.
  EXPECT_EQ(describe_lonely_rank(launch_in({{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_NTASKS", "8"}}), 1), "");
  EXPECT_EQ(describe_lonely_rank(launch_in({{"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "8"}}), 1), "");
}

TEST(Launch, TheFolderForTemporaryFilesIsTheFirstThatIsNamed) {
  const auto problem_in = [](const Variables& variables) {
    return describe_temporary_folder([&](const char* name) {
      const auto found = variables.find(name);
      return found == variables.end() ? std::optional<std::string>() : found->second;
    });
  };
  EXPECT_EQ(problem_in({{"TMPDIR", "/tmp"}, {"TEMP", "/nowhere"}}), "");
  EXPECT_EQ(problem_in({{"TEMP", "/nowhere"}}),
            "TEMP=/nowhere is not a writable folder, but MPI makes its files there: make that folder, "
            "or unset TEMP");
  EXPECT_THAT(problem_in({{"TMPDIR", "/dev/null"}, {"TEMP", "/tmp"}}),
              HasSubstr("TMPDIR=/dev/null is not a writable folder"));
  EXPECT_THAT(problem_in({{"TMP", "/proc/1/\n"}}), HasSubstr("TMP=/proc/1/\\x0a is not a writable folder"));
}

}  // namespace
}  // namespace wan::comm
