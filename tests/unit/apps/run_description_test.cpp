#include "apps/run_description.h"

#include <gtest/gtest.h>

#include "option_calls.h"

namespace wan::apps {
namespace {

TEST(RequestOptions, GiveTheRequestBack) {
  Request request;
  request.id = "cat";
  request.image = "/images/a cat.png";
  request.prompt = "--a cat";
  request.negative_prompt = "dogs";
  request.seed = 18446744073709551615U;
  request.size = {.width = 832, .height = 480};
  request.frame_num = 17;
  request.sample_steps = 7;
  request.sample_shift = 3.25;
  request.guide_scale = {.low_noise = 3.5, .high_noise = 4.5};
  request.boundary = 0.875;
  request.fps = 24;
  request.codec = "libx265";
  request.crf = 12;
  std::vector<std::string> words = request_options(request);
  words.insert(words.begin(), {"--ckpt-dir", "ckpt"});
  const launch::Options options = parse(words);
  EXPECT_EQ(options.image, "/images/a cat.png");
  EXPECT_EQ(options.prompt, request.prompt);
  EXPECT_EQ(options.request.negative_prompt, request.negative_prompt);
  EXPECT_EQ(options.request.seed, request.seed);
  EXPECT_TRUE(options.request.size == request.size);
  EXPECT_EQ(options.request.guide_scale, request.guide_scale);
  EXPECT_EQ(options.request.solver, request.solver);
  EXPECT_EQ(options.noise_device, request.noise_device);
  EXPECT_EQ(options.request.frame_num, request.frame_num);
  EXPECT_EQ(options.request.sample_steps, request.sample_steps);
  EXPECT_EQ(options.request.sample_shift, request.sample_shift);
  EXPECT_EQ(options.request.boundary, request.boundary);
  EXPECT_EQ(options.fps, request.fps);
  EXPECT_EQ(options.codec, request.codec);
  EXPECT_EQ(options.crf, request.crf);
  EXPECT_EQ(options.save_file, "cat.mp4");
}

}  // namespace
}  // namespace wan::apps
