#include "engine/checkpoint_match.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/model_kind.h"
#include "support/message_of.h"

namespace wan::engine {
namespace {

using ::testing::HasSubstr;

checkpoint::CheckpointFolder folder_of(const char* task) {
  return {.root = "/ckpt",
          .experts = {},
          .text_encoder = {},
          .vae = {},
          .tokenizer = {},
          .image_encoder = "/ckpt/clip.pth",
          .task = model::model_kind(task).as_task()};
}

std::string branch_error(const char* task, std::int64_t image_dim) {
  const checkpoint::TransformerConfig config{.model_type = {}, .image_dim = image_dim};
  return test::message_of<UsageError>([&] { require_image_branch(folder_of(task), config); });
}

TEST(CheckpointMatch, ExpertsOfWan22AndModelsOfWan21AreToldApart) {
  EXPECT_THAT(branch_error("i2v-14B", 0), HasSubstr("it is an expert of i2v-A14B"));
  EXPECT_THAT(branch_error("i2v-A14B", 1280), HasSubstr("it is Wan 2.1 I2V-14B"));
  EXPECT_EQ(branch_error("i2v-14B", 1280), "no error");
  EXPECT_EQ(branch_error("i2v-A14B", 0), "no error");
  EXPECT_EQ(branch_error("t2v-1.3B", 0), "no error");
}

TEST(CheckpointMatch, ClipOfAnotherWidthIsNamed) {
  const checkpoint::ImageEncoderConfig clip{.dim = 1024};
  const checkpoint::TransformerConfig config{.model_type = {}, .image_dim = 1280};
  EXPECT_EQ(test::message_of<UsageError>([&] { require_image_width(folder_of("i2v-14B"), clip, config); }),
            "/ckpt/clip.pth: CLIP's width is 1024, the transformer in /ckpt expects 1280");
}

}  // namespace
}  // namespace wan::engine
