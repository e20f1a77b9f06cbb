#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "parity/vae/parity_vae.h"

/// Compares the autoencoder with the official implementation's results for the same weights and inputs.
namespace wan::vae {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

struct ParityCase {
  std::string name;
  int parts;
};

// GoogleTest prints a parameter by its name.
void PrintTo(const ParityCase& parity_case, std::ostream* out) {
  *out << parity_case.name << " in " << parity_case.parts << " parts";
}

class VaeParity : public ::testing::TestWithParam<ParityCase> {
 protected:
  const Tensors expected_ = test::load_tensors(test::case_folder(GetParam().name) / "expected.safetensors");
  const Vae vae_ = test::load_vae(GetParam().name, "Wan2.1_VAE.pth");
  const std::int64_t latent_rows_ = expected_.at("frames").size(1) / vae_.config().spatial_factor();

  at::Tensor by_parts(const std::function<at::Tensor(RowExchange&)>& work) const {
    return test::by_parts(GetParam().parts, latent_rows_, work);
  }

  at::Tensor last_latent() const {
    int step = 0;
    while (expected_.contains("step." + std::to_string(step + 1) + ".latent")) ++step;
    return expected_.at("step." + std::to_string(step) + ".latent");
  }
};

std::string name_of(const ::testing::TestParamInfo<ParityCase>& info) {
  return fmt::format("{}_{}", info.param.name, info.param.parts);
}

const std::vector<ParityCase> image_cases{
    {"i2v_landscape", 1}, {"i2v_landscape", 3}, {"i2v_portrait_ragged", 1}, {"i2v_portrait_ragged", 4}};
const std::vector<ParityCase> text_cases{{"t2v_square", 1}, {"t2v_square", 8}};  // nothing to encode

class EncodeParity : public VaeParity {};
INSTANTIATE_TEST_SUITE_P(Image, EncodeParity, ::testing::ValuesIn(image_cases), name_of);

class DecodeParity : public VaeParity {};
INSTANTIATE_TEST_SUITE_P(Image, DecodeParity, ::testing::ValuesIn(image_cases), name_of);
INSTANTIATE_TEST_SUITE_P(Text, DecodeParity, ::testing::ValuesIn(text_cases), name_of);

TEST_P(EncodeParity, EncodesTheImageClip) {
  const at::Tensor& image = expected_.at("image.resized");  // [3, H, W]
  const std::int64_t frames = expected_.at("frames").size(0);
  const at::Tensor latent = by_parts([&](RowExchange& rows) {
    return vae_.encode(image_clip(rows.split().own_rows(image, 1), frames), rows);
  });
  const at::Tensor& reference = expected_.at("vae.encoded");  // [16, T, h8, w8]
  ASSERT_EQ(latent.sizes(), reference.sizes());
  const auto relative = ((latent - reference).abs().max() / reference.abs().max()).item<double>();
  RecordProperty("relative_difference", fmt::format("{:.3g}", relative));
  EXPECT_LE(relative, 1e-5);
}

TEST_P(DecodeParity, DecodesTheLastLatent) {
  const at::Tensor latent = last_latent();  // [16, T, h8, w8]
  const at::Tensor video = by_parts([&](RowExchange& rows) {
    std::vector<at::Tensor> chunks;
    vae_.decode(rows.split().own_rows(latent, 2), rows,
                [&](const at::Tensor& chunk, std::int64_t) { chunks.push_back(chunk); });
    return at::cat(chunks, 1);  // [3, F, h, W]
  });
  // The longer cases have some of their frames in fp32, and all of them as bytes.
  const at::Tensor& reference = expected_.at("video");  // [3, F or fewer, H, W]
  const bool has_all = !expected_.contains("video.frames");
  const at::Tensor compared = has_all ? video : video.index_select(1, expected_.at("video.frames"));
  ASSERT_EQ(compared.sizes(), reference.sizes());
  const auto difference = (compared - reference).abs().max().item<double>();
  RecordProperty("largest_difference", fmt::format("{:.3g}", difference));
  EXPECT_LE(difference, 2e-5);

  test::expect_same_levels(to_uint8_frames(video), expected_.at("frames"));
}

}  // namespace
}  // namespace wan::vae
