#include <gtest/gtest.h>

#include "comm/local.h"
#include "engine/text_encoder.h"
#include "support/parity_case.h"
#include "text/umt5_encoder.h"

namespace wan::text {
namespace {

std::vector<std::int64_t> real_ids(const at::Tensor& padded) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < padded.size(0); ++i) {
    const auto id = padded[i].item<std::int64_t>();
    ids.push_back(id);
    if (id == 1) break;  // </s>
  }
  return ids;
}

class Umt5Parity : public testing::TestWithParam<std::string> {};

TEST_P(Umt5Parity, PromptAndNegativePrompt) {
  const test::ParityCase parity = test::load_parity_case(GetParam());
  const auto files =
      checkpoint::Checkpoint::open_torch_archive(parity.folder / "ckpt/models_t5_umt5-xxl-enc-bf16.pth");
  const auto alone = comm::make_local("text");
  engine::TextEncoder encoder(engine::text_encoder_model(files),
                              {.placement = {.residence = parallel::Residence::read_when_needed}}, *alone);
  EXPECT_LT(test::relative_error(encoder.encode(real_ids(parity.tensor("text.ids"))),
                                 parity.tensor("text.context")),
            1e-5);
  EXPECT_LT(test::relative_error(encoder.encode(real_ids(parity.tensor("text.negative_ids"))),
                                 parity.tensor("text.negative_context")),
            1e-5);
  encoder.unload();  // the weights are loaded again when they are needed
  EXPECT_LT(test::relative_error(encoder.encode(real_ids(parity.tensor("text.ids"))),
                                 parity.tensor("text.context")),
            1e-5);
}

TEST(TextEncoder, AnIdBeyondTheTableIsTheItemsFault) {
  const test::ParityCase parity = test::load_parity_case("t2v_square");
  const auto files =
      checkpoint::Checkpoint::open_torch_archive(parity.folder / "ckpt/models_t5_umt5-xxl-enc-bf16.pth");
  const auto alone = comm::make_local("text");
  engine::TextEncoder encoder(engine::text_encoder_model(files), {}, *alone);
  const std::vector<std::int64_t> ids{encoder.config().vocabulary, 1};
  EXPECT_THROW(encoder.encode(ids), ItemError);
}

INSTANTIATE_TEST_SUITE_P(Cases, Umt5Parity,
                         testing::Values("i2v_landscape", "i2v_portrait_ragged", "t2v_square", "ti2v_text"));

TEST(RelativePosition, BucketsAsTabulated) {
  const std::map<std::int64_t, std::int64_t> table{
      {0, 0},   {7, 7},   {8, 8},   {11, 8},  {12, 9},  {15, 9},  {16, 10}, {22, 10}, {23, 11},
      {31, 11}, {32, 12}, {45, 12}, {46, 13}, {63, 13}, {64, 14}, {90, 14}, {91, 15}, {500, 15}};
  for (const auto& [distance, bucket] : table) {
    EXPECT_EQ(relative_position_bucket(-distance, 32), bucket) << distance;
    if (distance > 0) {
      EXPECT_EQ(relative_position_bucket(distance, 32), bucket + 16) << distance;
    }
  }
}

}  // namespace
}  // namespace wan::text
