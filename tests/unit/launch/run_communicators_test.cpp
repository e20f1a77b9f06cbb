#include "launch/run_communicators.h"

#include <gtest/gtest.h>

namespace wan::launch {
namespace {

using parallel::Role;

TEST(NcclTraffic, OnlyWhatCarriesMuchGetsCopyEngines) {
  for (const Role role : {Role::ulysses, Role::fsdp}) EXPECT_TRUE(nccl_traffic(role).carries_much);
  for (const Role role : {Role::cfg, Role::vae, Role::group}) EXPECT_FALSE(nccl_traffic(role).carries_much);
}

TEST(NcclTraffic, OnlyUlyssesMayTakeAllTheThreadBlocksThatNcclWants) {
  EXPECT_EQ(nccl_traffic(Role::ulysses).max_ctas, 0);
  for (const Role role : {Role::fsdp, Role::cfg, Role::vae}) EXPECT_GT(nccl_traffic(role).max_ctas, 0);
  EXPECT_GT(nccl_traffic(Role::fsdp).max_ctas, nccl_traffic(Role::cfg).max_ctas);
}

}  // namespace
}  // namespace wan::launch
