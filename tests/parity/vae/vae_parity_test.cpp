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

  at::Tensor by_parts(const std::function<at::Tensor(RowExchange&)>& work, std::int64_t row_axis) const {
    return test::by_parts(GetParam().parts, latent_rows_, work, row_axis);
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
  const at::Tensor latent = by_parts(
      [&](RowExchange& rows) {
        return vae_.encode(image_clip(rows.split().own_rows(image, 1), frames), rows);
      },
      2);
  const at::Tensor& reference = expected_.at("vae.encoded");  // [16, T, h8, w8]
  ASSERT_EQ(latent.sizes(), reference.sizes());
  const auto relative = ((latent - reference).abs().max() / reference.abs().max()).item<double>();
  RecordProperty("relative_difference", fmt::format("{:.3g}", relative));
  EXPECT_LE(relative, 1e-5);
}

TEST_P(DecodeParity, DecodesTheLastLatent) {
  const at::Tensor latent = last_latent();  // [16, T, h8, w8]
  const at::Tensor video = by_parts(
      [&](RowExchange& rows) {
        std::vector<at::Tensor> chunks;
        vae_.decode(rows.split().own_rows(latent, 2), rows,
                    [&](const at::Tensor& chunk, std::int64_t) { chunks.push_back(chunk); });
        return at::cat(chunks, 0);  // [F, h, W, 3]
      },
      1);
  // The longer cases have some of their frames in fp32, and all of them as bytes.
  const at::Tensor& reference = expected_.at("video");  // [3, F or fewer, H, W]
  const bool has_all = !expected_.contains("video.frames");
  const at::Tensor some = has_all ? video : video.index_select(0, expected_.at("video.frames"));
  const at::Tensor compared = some.permute({3, 0, 1, 2});
  ASSERT_EQ(compared.sizes(), reference.sizes());
  const auto difference = (compared - reference).abs().max().item<double>();
  RecordProperty("largest_difference", fmt::format("{:.3g}", difference));
  EXPECT_LE(difference, 2e-5);

  test::expect_same_levels(to_uint8_frames(video), expected_.at("frames"));
}

TEST(VaeBits, AreThoseOfOnePartOnAnyNumberOfParts) {
  const std::string name = "i2v_portrait_ragged";
  const Tensors expected = test::load_tensors(test::case_folder(name) / "expected.safetensors");
  const Vae vae = test::load_vae(name, "Wan2.1_VAE.pth");
  const at::Tensor& image = expected.at("image.resized");
  const at::Tensor latent = expected.at("vae.encoded");
  const auto encode = [&](RowExchange& rows) {
    return vae.encode(image_clip(rows.split().own_rows(image, 1), 33), rows);
  };
  const auto decode = [&](RowExchange& rows) {
    std::vector<at::Tensor> chunks;
    vae.decode(rows.split().own_rows(latent.narrow(1, 0, 2), 2), rows,
               [&](const at::Tensor& chunk, std::int64_t) { chunks.push_back(chunk); });
    return at::cat(chunks, 0);
  };
  const at::Tensor encoded = test::by_parts(1, latent.size(2), encode);
  const at::Tensor decoded = test::by_parts(1, latent.size(2), decode, 1);
  for (const int parts : {2, 3, 4}) {
    EXPECT_TRUE(test::by_parts(parts, latent.size(2), encode).equal(encoded)) << parts;
    EXPECT_TRUE(test::by_parts(parts, latent.size(2), decode, 1).equal(decoded)) << parts;
  }
}

}  // namespace
}  // namespace wan::vae
