#include "launch/job_end.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wan::launch {
namespace {

using ::testing::HasSubstr;
using Words = std::vector<std::string>;

constexpr double now_s = 1'800'000'000;
constexpr double age_s = 5;

TEST(JobEndTest, SlurmsVariableTellsTheEnd) {
  const AskCommand nobody = [](const Words&) -> std::optional<std::string> {
    ADD_FAILURE() << "squeue was asked";
    return {};
  };
  EXPECT_FALSE(slurm_job_end({{"SLURM_JOB_END_TIME", "1800000060"}}, now_s, age_s, nobody).limit_s)
      << "no job";
  const JobEnd end =
      slurm_job_end({{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", "1800000060"}}, now_s, age_s, nobody);
  EXPECT_EQ(end.limit_s, 60 + age_s);
  EXPECT_EQ(end.problem, "");
  const JobEnd endless =
      slurm_job_end({{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", "4294967294"}}, now_s, age_s, nobody);
  EXPECT_FALSE(endless.limit_s) << "Slurm's word for no limit";
  EXPECT_EQ(endless.problem, "");
  for (const char* wrong : {"soon", "-5", "1e99", "1799999995", "0", "17999999999999999999"}) {
    const JobEnd none =
        slurm_job_end({{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", wrong}}, now_s, age_s, nobody);
    EXPECT_FALSE(none.limit_s) << wrong;
    EXPECT_THAT(none.problem, HasSubstr("SLURM_JOB_END_TIME")) << wrong;
  }
}

/// The machine was so busy that the start took longer than the job had left: the run must not go on for ever.
TEST(JobEndTest, AnEndThatCameDuringTheStartIsALimit) {
  const AskCommand nobody = [](const Words&) -> std::optional<std::string> { return {}; };
  const JobEnd end =
      slurm_job_end({{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_END_TIME", "1799999997"}}, now_s, age_s, nobody);
  EXPECT_EQ(end.limit_s, 2);
  EXPECT_EQ(end.problem, "");
}

TEST(JobEndTest, AnOlderSlurmIsAsked) {
  Words asked;
  std::optional<std::string> answer = "1-02:03:04\n";
  const AskCommand squeue = [&](const Words& words) {
    asked = words;
    return answer;
  };
  EXPECT_EQ(slurm_job_end({{"SLURM_JOB_ID", "7"}}, now_s, age_s, squeue).limit_s, 86400 + 7384 + age_s);
  EXPECT_EQ(asked, (Words{"squeue", "--noheader", "--jobs=7", "--format=%L"}));
  slurm_job_end({{"SLURM_JOB_ID", "9"}, {"SLURM_ARRAY_JOB_ID", "7"}, {"SLURM_ARRAY_TASK_ID", "0"}}, now_s,
                age_s, squeue);
  EXPECT_EQ(asked.at(2), "--jobs=7_0") << "7 alone would be the whole array";
  asked.clear();
  EXPECT_FALSE(slurm_job_end({{"SLURM_JOB_ID", "7 --format=x; rm"}}, now_s, age_s, squeue).limit_s);
  EXPECT_TRUE(asked.empty()) << "what is no id is not handed on";
  for (const char* text :
       {"UNLIMITED", "INVALID", "NOT_SET", "", "12", "1:2:3:4", "0:00", "a:b", "1-1-1:00"}) {
    answer = text;
    const JobEnd none = slurm_job_end({{"SLURM_JOB_ID", "7"}}, now_s, age_s, squeue);
    EXPECT_FALSE(none.limit_s) << text;
    EXPECT_EQ(none.problem, "") << text;
  }
  answer.reset();
  EXPECT_FALSE(slurm_job_end({{"SLURM_JOB_ID", "7"}}, now_s, age_s, squeue).limit_s)
      << "the controller is down";
}

TEST(JobEndTest, TimesLeftAreReadAsSqueuePrintsThem) {
  EXPECT_EQ(parse_time_left(" 2:59 \n"), 179);
  EXPECT_EQ(parse_time_left("1:02:59"), 3779);
  EXPECT_EQ(parse_time_left("3-00:00:01"), 3 * 86400 + 1);
  EXPECT_FALSE(parse_time_left("2:59\n3:00"));
}

}  // namespace
}  // namespace wan::launch
