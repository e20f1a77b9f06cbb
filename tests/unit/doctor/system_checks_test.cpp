#include "doctor/system_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "findings.h"

namespace wan::doctor {
namespace {

using test::verdict_of;
using test::worst_of;
using ::testing::HasSubstr;

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
constexpr std::uint64_t gib = std::uint64_t{1} << 30;

std::vector<Finding> check_system(const SystemFacts& facts) {
  std::vector<Finding> findings = check_host(facts);
  std::ranges::move(check_process(facts), std::back_inserter(findings));
  return findings;
}

SystemFacts good() {
  SystemFacts facts;
  facts.available_bytes = 500 * gib;
  facts.open_files = 4096;
  facts.stack_bytes = 8 * mib;
  facts.shm_total_bytes = 250 * gib;
  facts.shm_free_bytes = 249 * gib;
  facts.has_infiniband = true;
  facts.cores = 64;
  facts.bound_cores = 8;
  facts.local_ranks = 8;
  return facts;
}

Verdict with(const std::string& check, void (*change)(SystemFacts&)) {
  SystemFacts facts = good();
  change(facts);
  EXPECT_TRUE(test::has_remedies(check_system(facts))) << check;
  return verdict_of(check_system(facts), check);
}

TEST(SystemChecks, AGoodNodeIsFine) { EXPECT_TRUE(test::all_ok(check_system(good()))); }

TEST(SystemChecks, Memory) {
  EXPECT_EQ(with("host memory", [](SystemFacts& f) { f.available_bytes = 8 * gib; }), Verdict::warn);
  EXPECT_EQ(with("host memory", [](SystemFacts& f) { f.cgroup_limit_bytes = 4 * gib; }), Verdict::warn);
  EXPECT_EQ(with("host memory", [](SystemFacts& f) { f.cgroup_limit_bytes = 400 * gib; }), Verdict::ok);
}

TEST(SystemChecks, Limits) {
  EXPECT_EQ(with("locked memory", [](SystemFacts& f) { f.locked_bytes = 64 << 10; }), Verdict::warn);
  EXPECT_EQ(with("locked memory",
                 [](SystemFacts& f) {
                   f.locked_bytes = 64 << 10;
                   f.has_infiniband = false;
                 }),
            Verdict::ok);
  EXPECT_EQ(with("open files", [](SystemFacts& f) { f.open_files = 256; }), Verdict::warn);
  EXPECT_EQ(with("open files", [](SystemFacts& f) { f.open_files = 64; }), Verdict::fail);
  EXPECT_EQ(with("open files", [](SystemFacts& f) { f.open_files.reset(); }), Verdict::ok);
  EXPECT_EQ(with("stack", [](SystemFacts& f) { f.stack_bytes = mib; }), Verdict::warn);
  EXPECT_EQ(with("stack", [](SystemFacts& f) { f.stack_bytes.reset(); }), Verdict::ok);
}

TEST(SystemChecks, SharedMemory) {
  EXPECT_EQ(with("/dev/shm", [](SystemFacts& f) { f.shm_total_bytes = f.shm_free_bytes = 64 * mib; }),
            Verdict::warn);
  EXPECT_EQ(with("/dev/shm",
                 [](SystemFacts& f) {
                   f.shm_total_bytes = f.shm_free_bytes = 64 * mib;
                   f.local_ranks = 1;
                   f.bound_cores = 64;
                 }),
            Verdict::ok);
  EXPECT_EQ(with("/dev/shm", [](SystemFacts& f) { f.shm_free_bytes = mib; }), Verdict::fail);
  EXPECT_EQ(with("/dev/shm", [](SystemFacts& f) { f.shm_total_bytes.reset(); }), Verdict::fail);
}

TEST(SystemChecks, Cores) {
  EXPECT_EQ(with("CPU cores", [](SystemFacts& f) { f.bound_cores = 1; }), Verdict::warn);
  EXPECT_EQ(with("CPU cores", [](SystemFacts& f) { f.cores = f.bound_cores = 4; }), Verdict::warn);
  EXPECT_EQ(with("CPU cores", [](SystemFacts& f) { f.omp_threads = 64; }), Verdict::warn);
  EXPECT_EQ(with("CPU cores", [](SystemFacts& f) { f.omp_threads = 1; }), Verdict::ok);
  SystemFacts facts = good();
  facts.bound_cores = 1;
  EXPECT_THAT(worst_of(check_system(facts), "CPU cores").remedy, HasSubstr("--cpus-per-task=8"));
}

TEST(SystemChecks, OfThisMachine) {
  const SystemFacts facts = gather_system({}, 1);
  EXPECT_GT(facts.available_bytes, 0U);
  EXPECT_GE(facts.cores, facts.bound_cores);
  EXPECT_GE(facts.bound_cores, 1);
  EXPECT_EQ(check_system(facts).size(), 6U);
}

}  // namespace
}  // namespace wan::doctor
