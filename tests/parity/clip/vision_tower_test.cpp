#include "clip/vision_tower.h"

#include <gtest/gtest.h>

#include "checkpoint/safetensors.h"
#include "engine/image_condition.h"
#include "engine/model_parts.h"
#include "media/image.h"
#include "parallel/unit_weights.h"
#include "support/parity_case.h"
#include "support/temp_dir.h"

namespace wan::clip {
namespace {

constexpr double tolerance = 1e-5;  // the tanh GELU in place of the exact one is off by 1e-4

const char* const file_name = "ckpt/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth";

std::map<std::string, at::Tensor> encode(const checkpoint::Checkpoint& files, const at::Tensor& pixels) {
  const engine::ImageEncoderModel model = engine::image_encoder_model(files);
  parallel::ResidentWeights weights(std::make_shared<parallel::WeightShards>(
      checkpoint::image_encoder_units(model.config), model.read, 1, 0, kernels::Compute()));
  std::map<std::string, at::Tensor> seen;
  seen["features"] =
      VisionTower(model.config, weights).encode(pixels, [&](std::string_view name, const at::Tensor& value) {
        seen[std::string(name)] = value.clone();
      });
  return seen;
}

/// The image of a case at CLIP's size.
at::Tensor clip_image(const test::ParityCase& parity) {
  return engine::resize_image(media::read_image(parity.request.image), {.width = 224, .height = 224});
}

TEST(VisionTower, EveryStageOfTheOfficialTower) {
  const test::ParityCase parity = test::load_parity_case("wan21_i2v");
  const auto files = checkpoint::Checkpoint::open_torch_archive(parity.folder / file_name);
  const auto seen = encode(files, clip_image(parity));
  const at::Tensor rows = at::tensor({0, 1, 111, 112, 222, 223}, at::kLong);
  EXPECT_LT(test::relative_error(seen.at("input").index_select(1, rows), parity.tensor("clip.input_rows")),
            tolerance);
  EXPECT_LT(test::relative_error(seen.at("blocks.0"), parity.tensor("clip.blocks.0")), tolerance);
  EXPECT_LT(test::relative_error(seen.at("features"), parity.tensor("clip.features")), tolerance);
  EXPECT_FALSE(seen.contains("blocks.2"));  // the last block of the file is not used
}

TEST(VisionTower, ReadsTheSameFromSafetensors) {
  const test::ParityCase parity = test::load_parity_case("wan21_i2v");
  const auto files = checkpoint::Checkpoint::open_weights_file(parity.folder / file_name);
  std::map<std::string, std::vector<float>> values;
  std::vector<checkpoint::TensorView> views;
  for (const auto& [name, entry] : files.entries()) {
    std::vector<float>& tensor = values[name];
    tensor.resize(static_cast<std::size_t>(entry.elements()));
    files.read_floats(entry, 0, tensor);
    views.push_back({name, checkpoint::DType::f32, entry.shape, std::as_bytes(std::span(tensor))});
  }
  const test::TempDir dir;
  checkpoint::write_safetensors(dir / "clip.safetensors", views);
  const auto copy = checkpoint::Checkpoint::open_weights_file(dir / "clip.safetensors");
  const at::Tensor image = clip_image(parity);
  EXPECT_TRUE(encode(copy, image).at("features").equal(encode(files, image).at("features")));
}

}  // namespace
}  // namespace wan::clip
