#include "doctor/library_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "findings.h"
#include "support/temp_dir.h"

namespace wan::doctor {
namespace {

using test::verdict_of;
using test::worst_of;
using ::testing::HasSubstr;

TEST(NcclChecks, HeaderAndLibraryMustBeOfOneSeries) {
  NcclFacts facts{.version = comm::NcclVersion{.header = 22809, .library = 22809, .path = "/a/libnccl.so.2"},
                  .others = {}};
  EXPECT_TRUE(test::all_ok(check_nccl(facts)));
  EXPECT_THAT(check_nccl(facts)[0].found, HasSubstr("2.28.9 from /a/libnccl.so.2"));
  facts.version->library = 22805;
  EXPECT_TRUE(test::all_ok(check_nccl(facts)));
  facts.version->library = 21805;
  EXPECT_EQ(verdict_of(check_nccl(facts), "NCCL"), Verdict::fail);
  facts.version->library = 22809;
  facts.others = {"/b/libnccl.so.2"};
  EXPECT_EQ(verdict_of(check_nccl(facts), "NCCL"), Verdict::warn);
  EXPECT_THAT(worst_of(check_nccl(facts), "NCCL").found, HasSubstr("/b/libnccl.so.2"));
  EXPECT_TRUE(test::has_remedies(check_nccl(facts)));
  EXPECT_TRUE(check_nccl({}).empty()) << "a build without it has nothing to check";
}

TEST(NcclChecks, AnotherLibraryInThePathIsFound) {
  const wan::test::TempDir folder;
  std::ofstream(folder / "libnccl.so.2") << "another";
  const NcclFacts facts = gather_nccl(
      {{"LD_LIBRARY_PATH", "/nowhere::" + folder.path().string() + ":" + folder.path().string()}});
  if (!facts.version) GTEST_SKIP() << "built without NCCL";
  EXPECT_EQ(facts.others.size(), 1U);
  EXPECT_TRUE(gather_nccl({}).others.empty());
}

MpiFacts good_mpi() {
  return {.compiled = "Open MPI 4.1.4",
          .running = "Open MPI v4.1.6",
          .is_threaded = true,
          .ranks = 4,
          .launched = 4,
          .launcher = "mpirun"};
}

TEST(MpiChecks, LibraryAndProgramMustBeOfOneSeries) {
  EXPECT_TRUE(test::all_ok(check_mpi(good_mpi())));
  for (const char* other : {"Open MPI v5.0.1", "Open MPI v4.10.1", "MPICH Version: 4.1.4", ""}) {
    MpiFacts facts = good_mpi();
    facts.running = other;
    EXPECT_EQ(verdict_of(check_mpi(facts), "MPI"), Verdict::fail) << other;
  }
  MpiFacts facts = good_mpi();
  facts.is_threaded = false;
  EXPECT_EQ(verdict_of(check_mpi(facts), "MPI threads"), Verdict::fail);
}

TEST(MpiChecks, ALauncherThatTheLibraryDoesNotHear) {
  MpiFacts facts = good_mpi();
  facts.ranks = 1;
  facts.launcher = "srun";
  EXPECT_EQ(verdict_of(check_mpi(facts), "MPI launch"), Verdict::fail);
  EXPECT_THAT(worst_of(check_mpi(facts), "MPI launch").found,
              HasSubstr("srun started 4 processes, but each of them sees itself alone"));
  EXPECT_THAT(worst_of(check_mpi(facts), "MPI launch").remedy, HasSubstr("--mpi=pmix"));
  facts.launcher = "mpirun";
  EXPECT_EQ(verdict_of(check_mpi(facts), "MPI launch"), Verdict::fail);
  EXPECT_TRUE(test::has_remedies(check_mpi(facts)));
}

TEST(MpiChecks, StartedAloneInAJob) {
  MpiFacts facts = good_mpi();
  facts.ranks = 1;
  facts.launcher = "Slurm";
  EXPECT_EQ(verdict_of(check_mpi(facts), "MPI launch"), Verdict::warn);
  facts.launcher = "srun";
  facts.launched = 1;
  EXPECT_EQ(verdict_of(check_mpi(facts), "MPI launch"), Verdict::ok);
  facts.has_pmi = false;
  EXPECT_EQ(verdict_of(check_mpi(facts), "MPI launch"), Verdict::warn);
  EXPECT_THAT(worst_of(check_mpi(facts), "MPI launch").remedy, HasSubstr("srun --mpi=pmix"));
  EXPECT_THAT(worst_of(check_mpi(facts), "MPI launch").remedy, HasSubstr("mpirun"));
}

TEST(MpiChecks, TheLauncherIsReadOffTheEnvironment) {
  const auto launched = [](const Environment& environment) {
    MpiFacts facts;
    read_launcher(environment, facts);
    return std::pair(facts.launcher, facts.launched);
  };
  EXPECT_EQ(launched({}), std::pair(std::string(), std::int64_t{1}));
  EXPECT_EQ(launched({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}}),
            std::pair(std::string("Slurm"), std::int64_t{8}))
      << "the batch script itself, outside srun";
  EXPECT_EQ(launched({{"SLURM_STEP_NUM_TASKS", "8"}}), std::pair(std::string("srun"), std::int64_t{8}));
  EXPECT_EQ(launched({{"SLURM_STEP_NUM_TASKS", "2"}, {"OMPI_COMM_WORLD_SIZE", "8"}}),
            std::pair(std::string("mpirun"), std::int64_t{8}));
  EXPECT_EQ(launched({{"PMI_SIZE", "x"}}), std::pair(std::string(), std::int64_t{1}));
}

TEST(EncoderChecks, WithoutX264ThereIsARemedy) {
  EXPECT_TRUE(test::all_ok(check_encoders({"libx264", "libx265"})));
  for (const std::vector<std::string>& encoders : {std::vector<std::string>{}, {"libx265"}}) {
    EXPECT_EQ(verdict_of(check_encoders(encoders), "FFmpeg encoders"), Verdict::fail);
    EXPECT_TRUE(test::has_remedies(check_encoders(encoders)));
  }
}

}  // namespace
}  // namespace wan::doctor
