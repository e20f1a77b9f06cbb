#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "parity/vae/parity_vae.h"

/// Compares the autoencoder of Wan 2.2 with the official implementation's results for the same weights and
/// inputs.
namespace wan::vae {
namespace {

constexpr double tolerance = 1e-5;
constexpr const char* file_name = "Wan2.2_VAE.pth";

using Tensors = std::map<std::string, at::Tensor>;

Tensors expected_of(const std::string& case_name) {
  return test::load_tensors(test::case_folder(case_name) / "expected.safetensors");
}

/// Joins what a probe hears of all chunks, by name.
class Taps {
 public:
  Probe probe() {
    return [this](std::string_view name, const at::Tensor& value) {
      chunks_[std::string(name)].push_back(value.permute({3, 0, 1, 2}).clone());
    };
  }
  /// Compares each tensor with the one in `expected` whose name has this prefix. Returns how many there were.
  int expect_equal(const Tensors& expected, const std::string& prefix) const {
    int compared = 0;
    for (const auto& [name, chunks] : chunks_) {
      const auto reference = expected.find(prefix + name);
      if (reference == expected.end()) continue;
      EXPECT_LE(test::relative_error(at::cat(chunks, 1), reference->second), tolerance) << prefix << name;
      ++compared;
    }
    return compared;
  }

 private:
  std::map<std::string, std::vector<at::Tensor>> chunks_;
};

TEST(Vae22Parity, EveryModuleOfTheEncoder) {
  const Tensors expected = expected_of("ti2v_text");
  const Vae vae = test::load_vae("ti2v_text", file_name);
  const at::Tensor clip = expected.at("vae22.clip");  // [3, 9, 32, 48]
  SinglePart rows(clip.size(2) / vae.config().spatial_factor());
  Taps taps;
  const at::Tensor latent = vae.encode(
      {.frames = clip.size(1),
       .read = [&](std::int64_t first, std::int64_t count) { return clip.narrow(1, first, count); }},
      rows, taps.probe());
  EXPECT_EQ(taps.expect_equal(expected, "vae22.encoder."), 9);
  EXPECT_LE(test::relative_error(latent, expected.at("vae22.encoded")), tolerance);
}

TEST(Vae22Parity, EveryModuleOfTheDecoder) {
  const Tensors expected = expected_of("ti2v_text");
  const Vae vae = test::load_vae("ti2v_text", file_name);
  const at::Tensor latent = expected.at("vae22.latent");  // [48, 3, 2, 3]
  SinglePart rows(latent.size(2));
  Taps taps;
  std::vector<at::Tensor> chunks;
  vae.decode(
      latent, rows, [&](const at::Tensor& chunk, std::int64_t) { chunks.push_back(chunk); }, taps.probe());
  EXPECT_EQ(taps.expect_equal(expected, "vae22.decoder."), 8);
  EXPECT_LE(test::relative_error(at::cat(chunks, 0).permute({3, 0, 1, 2}), expected.at("vae22.decoded")),
            tolerance);
}

class Vae22Parts : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Parts, Vae22Parts, ::testing::Values(1, 2, 3, 4));

TEST_P(Vae22Parts, EncodeTheImageAloneAndDecodeTheLastLatent) {
  const Tensors expected = expected_of("ti2v_image");
  const Vae vae = test::load_vae("ti2v_image", file_name);
  const at::Tensor& image = expected.at("image.resized");   // [3, 64, 96]
  const at::Tensor& latent = expected.at("step.5.latent");  // [48, 3, 4, 6]
  const at::Tensor encoded = test::by_parts(GetParam(), latent.size(2), [&](RowExchange& rows) {
    return vae.encode(image_clip(rows.split().own_rows(image, 1), 1), rows);
  });
  EXPECT_LE(test::relative_error(encoded, expected.at("vae.encoded")), tolerance);

  const at::Tensor video = test::by_parts(
      GetParam(), latent.size(2),
      [&](RowExchange& rows) {
        std::vector<at::Tensor> chunks;
        vae.decode(rows.split().own_rows(latent, 2), rows,
                   [&](const at::Tensor& chunk, std::int64_t) { chunks.push_back(chunk); });
        return at::cat(chunks, 0);  // [F, h, W, 3]
      },
      1);
  test::expect_same_levels(to_uint8_frames(video), expected.at("frames"));
}

}  // namespace
}  // namespace wan::vae
