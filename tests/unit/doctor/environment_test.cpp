#include "doctor/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "findings.h"

namespace wan::doctor {
namespace {

using ::testing::HasSubstr;

std::string found_with(const std::string& name, const std::string& value) {
  const std::vector<Finding> findings = check_environment({{name, value}});
  EXPECT_EQ(findings.size(), 1U);
  EXPECT_TRUE(test::has_remedies(findings));
  return findings[0].verdict == Verdict::ok ? "ok" : findings[0].found;
}

TEST(EnvironmentChecks, WhatHurtsIsNamed) {
  EXPECT_THAT(found_with("NCCL_P2P_DISABLE", "1"), HasSubstr("NCCL_P2P_DISABLE=1: "));
  EXPECT_THAT(found_with("NCCL_DEBUG", "TRACE"), HasSubstr("NCCL_DEBUG"));
  EXPECT_THAT(found_with("NCCL_SOCKET_IFNAME", "docker0"), HasSubstr("interface"));
  EXPECT_THAT(found_with("NCCL_CUMEM_ENABLE", "0"), HasSubstr("copy engines"));
  EXPECT_THAT(found_with("CUDA_LAUNCH_BLOCKING", "1"), HasSubstr("waits"));
  EXPECT_THAT(found_with("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64"),
              HasSubstr("expandable_segments"));
  EXPECT_THAT(found_with("OMPI_MCA_btl", "tcp,self"), HasSubstr("OMPI_MCA_btl"));
  EXPECT_THAT(found_with("OMPI_MCA_btl", "^self"), HasSubstr("OMPI_MCA_btl"));
  EXPECT_THAT(found_with("LD_PRELOAD", "/x\x1b[31m.so"), HasSubstr("\\x1b"));
  EXPECT_THAT(found_with("TMPDIR", "/nowhere"), HasSubstr("not a writable folder"));
}

TEST(EnvironmentChecks, WhatDoesNotHurtIsLeftAlone) {
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"NCCL_P2P_DISABLE", "0"},
           {"NCCL_DEBUG", "WARN"},
           {"NCCL_SOCKET_IFNAME", "ib0"},
           {"NCCL_CUMEM_ENABLE", "1"},
           {"PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"},
           {"OMPI_MCA_btl", "vader,self,tcp"},
           {"OMPI_MCA_btl", "^openib"},
           {"NCCL_P2P_DISABLE", ""},
           {"HOME", "/root"}})
    EXPECT_EQ(found_with(name, value), "ok") << name << "=" << value;
}

TEST(Environment, Numbers) {
  const Environment environment{{"a", "12"}, {"b", "x"}, {"c", "-1"}, {"d", ""}};
  EXPECT_EQ(number_of(environment, "a"), 12);
  for (const char* name : {"b", "c", "d", "absent"}) EXPECT_FALSE(number_of(environment, name)) << name;
  EXPECT_FALSE(read_environment().empty());
}

}  // namespace
}  // namespace wan::doctor
