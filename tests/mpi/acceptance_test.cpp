#include "apps/acceptance.h"

#include <gmock/gmock.h>
#include <mpi.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "apps/bench_measurement.h"

// `wan_doctor --accept` measures GPUs. Here the same code measures CPU ranks: the options are those of the
// program but for the device and the model's size.

namespace wan::apps {
namespace {

using testing::HasSubstr;

BenchResult good_result() {
  BenchResult result;
  result.gpus = 2;
  result.gpu_model = "NVIDIA H200";
  result.step_s = {2.0, 2.1, 2.2};
  result.vae_encode_s = 1;
  result.vae_decode_s = 3;
  result.rank_computing_s = {1.0, 1.04};
  result.expected = {.encode_s = 1, .decode_s = 3};
  result.expected_step_s = 2;
  result.figures = "H200";
  result.is_of_measured_gpu = true;
  return result;
}

TEST(Acceptance, JudgesTimesAgainstThePlan) {
  const Acceptance good = judge(good_result());
  EXPECT_TRUE(good.is_accepted()) << acceptance_table(good);
  EXPECT_THAT(acceptance_table(good), HasSubstr("\naccepted\n"));
  BenchResult slow = good_result();
  slow.step_s = {2.4, 2.31, 2.3};  // the median is 15.5 % above
  EXPECT_FALSE(judge(slow).is_accepted());
  EXPECT_THAT(acceptance_table(judge(slow)), HasSubstr("FAIL"));
  EXPECT_THAT(acceptance_table(judge(slow)), HasSubstr("NOT accepted"));
  BenchResult uneven = good_result();
  uneven.rank_computing_s = {1.0, 1.0, 1.06};
  EXPECT_FALSE(judge(uneven).is_accepted());
  uneven.rank_computing_s = {1.0, 1.12};  // 5.7 % above the median of the two
  EXPECT_FALSE(judge(uneven).is_accepted());
  BenchResult unknown = good_result();
  unknown.vae_decode_s = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(judge(unknown).is_accepted()) << "a time that is no number is no good time";
}

TEST(Acceptance, DoesNotJudgeTimesOfAGpuThatNobodyMeasured) {
  BenchResult other = good_result();
  other.is_of_measured_gpu = false;
  other.step_s = {20};
  EXPECT_TRUE(judge(other).is_accepted());
  EXPECT_THAT(acceptance_table(judge(other)), HasSubstr("not judged"));
  other.rank_computing_s = {1, 1, 2};  // its ranks are still compared with each other
  EXPECT_FALSE(judge(other).is_accepted());
}

TEST(Acceptance, MeasuresTheEngineOnAllRanks) {
  const comm::MpiRanks ranks(MPI_COMM_WORLD);
  launch::Options options = acceptance_options({});
  EXPECT_EQ(options.device, launch::Device::cuda);
  EXPECT_EQ(options.bench.size, (PixelSize{832, 480}));
  options.device = launch::Device::cpu;
  options.log_level = LogLevel::quiet;
  options.bench.model = WAN_TEST_DATA "/parity/i2v_landscape/ckpt/high_noise_model/config.json";
  options.bench.size = {64, 48};
  options.bench.frame_num = 5;
  const BenchResult result = measure_bench(ranks, options, {});
  EXPECT_GT(result.expected_step_s, 0);
  EXPECT_FALSE(result.is_of_measured_gpu);
  if (ranks.rank() != 0) return;
  EXPECT_EQ(result.gpus, ranks.size());
  EXPECT_EQ(result.step_s.size(), 4U);
  EXPECT_EQ(result.rank_computing_s.size(), static_cast<std::size_t>(ranks.size()));
  EXPECT_THAT(result.rank_computing_s, testing::Each(testing::Gt(0)));
  const Acceptance acceptance = judge(result);
  EXPECT_EQ(acceptance.rows.size(), ranks.size() > 1 ? 4U : 3U);
  for (const AcceptanceRow& row : acceptance.rows) EXPECT_GT(row.measured, 0) << row.name;
  const auto json = nlohmann::json::parse(acceptance_json(acceptance));
  EXPECT_EQ(json["rows"].size(), acceptance.rows.size());
  EXPECT_EQ(json["rows"][0]["verdict"], "-");
}

}  // namespace
}  // namespace wan::apps
