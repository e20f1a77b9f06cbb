#include "doctor/job_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "findings.h"
#include "wan/error.h"

namespace wan::doctor {
namespace {

using test::verdict_of;
using test::worst_of;
using ::testing::HasSubstr;

/// One rank per GPU, all GPUs visible to all.
std::vector<RankFacts> good(int hosts, int gpus) {
  std::vector<RankFacts> ranks;
  for (int rank = 0; rank < hosts * gpus; ++rank) {
    ranks.push_back({.rank = rank,
                     .host = "node" + std::to_string(rank / gpus),
                     .version = "0.1.0",
                     .local_rank = rank % gpus,
                     .visible_gpus = gpus,
                     .gpu_bus_id = std::to_string(rank % gpus),
                     .gpu_name = "NVIDIA H200",
                     .gpu_bytes = std::uint64_t{140} << 30,
                     .bound_cores = {}});
  }
  return ranks;
}

TEST(JobChecks, AGoodJobIsFine) {
  const std::vector<Finding> findings = check_job(good(2, 8), {{"SLURM_JOB_NUM_NODES", "2"}});
  EXPECT_TRUE(test::all_ok(findings));
  EXPECT_EQ(findings[0].found, "16 ranks on 2 hosts");
  EXPECT_TRUE(test::all_ok(check_job(std::vector<RankFacts>(1), {}))) << "bare, without a GPU";
}

TEST(JobChecks, RanksAndGpus) {
  auto ranks = good(1, 4);
  for (RankFacts& rank : ranks) rank.visible_gpus = 2;
  EXPECT_EQ(verdict_of(check_job(ranks, {}), "ranks and GPUs"), Verdict::fail);
  EXPECT_THAT(worst_of(check_job(ranks, {}), "ranks and GPUs").remedy, HasSubstr("--ntasks-per-node=2"));
  ranks = good(1, 4);
  for (RankFacts& rank : ranks) rank.visible_gpus = 8;
  EXPECT_EQ(verdict_of(check_job(ranks, {}), "ranks and GPUs"), Verdict::warn);
  ranks = good(1, 4);
  for (RankFacts& rank : ranks) rank.visible_gpus = 1;
  EXPECT_TRUE(test::all_ok(check_job(ranks, {}))) << "a launcher that binds";
  ranks[3].gpu_bus_id = ranks[1].gpu_bus_id;
  EXPECT_THAT(worst_of(check_job(ranks, {}), "ranks and GPUs").found,
              HasSubstr("ranks 1 and 3 on node0 have the same GPU"));
  EXPECT_TRUE(test::has_remedies(check_job(ranks, {})));
}

TEST(JobChecks, RanksMustBeAlike) {
  auto ranks = good(1, 4);
  ranks[2].gpu_bytes = std::uint64_t{80} << 30;
  EXPECT_EQ(verdict_of(check_job(ranks, {}), "same GPUs"), Verdict::fail);
  ranks = good(1, 4);
  ranks[2].gpu_bus_id = ranks[2].gpu_name = "";
  ranks[2].gpu_bytes = 0;
  EXPECT_THAT(worst_of(check_job(ranks, {}), "same GPUs").found, HasSubstr("rank 2 none"));
  ranks = good(2, 4);
  ranks[5].version = "0.2.0";
  EXPECT_EQ(verdict_of(check_job(ranks, {}), "same program"), Verdict::fail);
}

TEST(JobChecks, RanksOnTheSameCoresAndNodesLeftOut) {
  auto ranks = good(1, 4);
  ranks[1].bound_cores = ranks[2].bound_cores = "0-3";
  EXPECT_EQ(verdict_of(check_job(ranks, {}), "CPU binding"), Verdict::warn);
  ranks[2].bound_cores = "4-7";
  EXPECT_TRUE(test::all_ok(check_job(ranks, {})));
  EXPECT_EQ(verdict_of(check_job(ranks, {{"SLURM_JOB_NUM_NODES", "2"}}), "nodes"), Verdict::warn);
}

TEST(JobChecks, FactsTravelAsJson) {
  const RankFacts facts = good(1, 2)[1];
  const RankFacts back = rank_facts_from_json(to_json(facts));
  EXPECT_EQ(to_json(back), to_json(facts));
  EXPECT_EQ(back.gpu_bytes, facts.gpu_bytes);
  EXPECT_THROW(rank_facts_from_json("{}"), Error);
}

TEST(SlurmChecks, GoodAndBadJobs) {
  EXPECT_TRUE(check_slurm({}, 8, 8).empty()) << "no job";
  const Environment job{{"SLURM_JOB_ID", "7"}, {"SLURM_GPUS_ON_NODE", "8"}};
  EXPECT_TRUE(test::all_ok(check_slurm(job, 8, 8)));
  const auto with = [&](const std::string& name, const std::string& value, int visible) {
    Environment changed = job;
    changed[name] = value;
    const std::vector<Finding> findings = check_slurm(changed, visible, 8);
    EXPECT_TRUE(test::has_remedies(findings));
    return worst_of(findings, "Slurm");
  };
  EXPECT_THAT(with("SLURM_GPUS_PER_TASK", "1", 1).found, HasSubstr("--gpus-per-task hides"));
  EXPECT_THAT(with("X", "", 1).found, HasSubstr("the job has 8 GPUs on this node, and this rank sees 1"));
  EXPECT_THAT(with("SLURM_EXPORT_ENV", "NONE", 8).found, HasSubstr("SLURM_EXPORT_ENV"));
  EXPECT_THAT(with("SLURM_MEM_PER_NODE", "1000", 8).found, HasSubstr("1000 MiB"));
  EXPECT_EQ(with("SLURM_MEM_PER_NODE", "0", 8).verdict, Verdict::ok) << "all of the node's memory";
  EXPECT_TRUE(test::all_ok(check_slurm({{"SLURM_JOB_ID", "7"}}, 0, 4))) << "a job on CPUs";
}

}  // namespace
}  // namespace wan::doctor
