#include "checkpoint/model_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"
#include "checkpoint_files.h"
#include "dialect_files.h"
#include "support/temp_dir.h"

namespace wan::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string parity_checkpoint(const std::string& name) { return test::test_data("parity/" + name + "/ckpt"); }

TEST(ModelConfig, ReadsTheParityCheckpoints) {
  for (const auto& [name, type, dim, heads, in_dim] :
       {std::tuple{"i2v_landscape", "i2v", 96, 4, 36}, std::tuple{"i2v_portrait_ragged", "i2v", 72, 3, 36},
        std::tuple{"t2v_square", "t2v", 64, 4, 16}}) {
    SCOPED_TRACE(name);
    const CheckpointFolder folder = inspect_checkpoint(parity_checkpoint(name));
    EXPECT_EQ(folder.task.name, std::string(type) + "-A14B");
    EXPECT_EQ(folder.task.defaults.sample_shift, folder.task.kind == TaskKind::i2v ? 5.0 : 12.0);
    const Checkpoint high = Checkpoint::open_safetensors_folder(folder.experts.front().path);
    const Checkpoint low = Checkpoint::open_safetensors_folder(folder.experts.back().path);
    const TransformerConfig config = read_transformer_config(folder.experts.front().path, high);
    expect_same_config(config, "high_noise_model", read_transformer_config(folder.experts.back().path, low),
                       "low_noise_model");
    EXPECT_EQ(config.model_type, type);
    EXPECT_EQ(config.dim, dim);
    EXPECT_EQ(config.num_heads, heads);
    EXPECT_EQ(config.in_dim, in_dim);
    EXPECT_EQ(config.num_layers, 2);
    EXPECT_EQ(config.text_len, 512);
    EXPECT_EQ(config.eps, 1e-6);
    expect_tensors(high, transformer_tensors(config));
    expect_tensors(low, transformer_tensors(config));

    const Checkpoint text = Checkpoint::open_torch_archive(folder.text_encoder);
    const TextEncoderConfig encoder = read_text_encoder_config(text);
    EXPECT_EQ(encoder.vocabulary, 533);
    EXPECT_EQ(encoder.num_layers, 3);
    EXPECT_EQ(encoder.num_buckets, 32);
    EXPECT_EQ(encoder.dim, config.text_dim);
    expect_tensors(text, text_encoder_tensors(encoder));
  }
}

TEST(ModelConfig, ExpertsOfTwoCheckpointsAreNoticed) {
  TransformerConfig high{.model_type = "i2v", .dim = 64, .num_heads = 4};
  TransformerConfig low = high;
  EXPECT_NO_THROW(expect_same_config(high, "high_noise_model", low, "low_noise_model"));
  low.num_heads = 8;
  EXPECT_THAT(
      test::usage_error_of([&] { expect_same_config(high, "high_noise_model", low, "low_noise_model"); }),
      HasSubstr("differ in num_heads: 4 and 8"));
}

/// A folder with a config.json to change, and the weights of a parity checkpoint beside it.
class ConfigFile : public ::testing::Test {
 protected:
  ConfigFile()
      : weights_(
            Checkpoint::open_safetensors_folder(parity_checkpoint("i2v_landscape") + "/high_noise_model")),
        config_(nlohmann::json::parse(
            test::read_bytes(parity_checkpoint("i2v_landscape") + "/high_noise_model/config.json"))) {}

  std::string error() const {
    test::write_bytes(dir_ / "config.json", config_.dump());
    return test::usage_error_of([&] { read_transformer_config(dir_.path(), weights_); });
  }
  std::string error_with(const std::string& key, const nlohmann::json& value) {
    const nlohmann::json before = config_;
    config_[key] = value;
    std::string message = error();
    config_ = before;
    return message;
  }
  wan::test::TempDir dir_;
  Checkpoint weights_;
  nlohmann::json config_;
};

TEST_F(ConfigFile, ValuesThatDoNotFitTheTensorsAreNamed) {
  for (const auto* key : {"dim", "ffn_dim", "freq_dim", "in_dim", "out_dim", "num_layers", "text_dim"}) {
    EXPECT_THAT(error_with(key, 50), AllOf(HasSubstr(fmt::format("'{}' is 50, but the tensors give", key)),
                                           HasSubstr("config.json")));
  }
  EXPECT_THAT(error_with("num_heads", 5), HasSubstr("'num_heads' is 5, which does not divide dim 96"));
  EXPECT_THAT(error_with("num_heads", 96), HasSubstr("heads of even size"));
}

TEST_F(ConfigFile, ValuesOfTheWrongKindAreNamed) {
  for (const nlohmann::json& value :
       std::vector<nlohmann::json>{-1, 0, 1.5, "4", nullptr, true, {4}, INT64_MAX}) {
    EXPECT_THAT(error_with("num_heads", value), HasSubstr("'num_heads' is"));
    EXPECT_THAT(error_with("num_layers", value), HasSubstr("'num_layers' is"));
  }
  for (const nlohmann::json& value : std::vector<nlohmann::json>{0, -1e-6, 1, "x", nullptr}) {
    EXPECT_THAT(error_with("eps", value), HasSubstr("'eps' is"));
  }
  EXPECT_THAT(error_with("patch_size", {1, 4, 4}),
              HasSubstr("'patch_size' is '[1,4,4]'; only [1,2,2] is supported"));
  EXPECT_THAT(error_with("window_size", {8, 8}), HasSubstr("'window_size'"));
  EXPECT_THAT(error_with("qk_norm", false), HasSubstr("'qk_norm'"));
  config_.erase("num_heads");
  EXPECT_THAT(error(), HasSubstr("'num_heads' is missing"));
}

TEST_F(ConfigFile, ModelsThatAreNotBuiltAreNamed) {
  EXPECT_THAT(error_with("model_type", "ti2v"),
              HasSubstr("a ti2v model with in_dim 36 and out_dim 16; expected 48 and 48"));
  EXPECT_THAT(error_with("in_dim", 48), HasSubstr("TI2V-5B"));
  EXPECT_THAT(error_with("model_type", "s2v"), HasSubstr("S2V-14B"));
  EXPECT_THAT(error_with("model_type", "animate"), HasSubstr("Animate-14B"));
  EXPECT_THAT(error_with("model_type", "vace"), HasSubstr("VACE"));
  EXPECT_THAT(error_with("_class_name", "WanModel_S2V"), HasSubstr("S2V-14B"));
  EXPECT_THAT(error_with("_class_name", "WanVACETransformer3DModel"), HasSubstr("is VACE"));
  EXPECT_THAT(error_with("_class_name", "UNet"), HasSubstr("'UNet'"));
  EXPECT_THAT(error_with("model_type", "x2v"), HasSubstr("expected 'i2v', 't2v' or 'ti2v'"));
  EXPECT_THAT(error_with("model_type", 7), HasSubstr("missing"));
  EXPECT_THAT(error_with("model_type", "t2v"), HasSubstr("a t2v model with in_dim 36"));
}

TEST(ModelConfig, PartsOfOtherModelsAreRecognisedByTheirTensors) {
  const wan::test::TempDir dir;
  test::write_bytes(dir / "config.json", R"({"model_type":"i2v","num_heads":4})");
  for (const auto& [tensor, model] : std::vector<std::pair<std::string, std::string>>{
           {"img_emb.emb_pos", "Wan 2.1 FLF2V-14B"},
           {"vace_blocks.0.modulation", "VACE"},
           {"casual_audio_encoder.weights", "S2V-14B"},
           {"face_adapter.fuser_blocks.0.linear1_kv.weight", "Animate-14B"}}) {
    const std::vector<float> values(1);
    write_safetensors(dir / "f",
                      std::vector<TensorView>{{tensor, DType::f32, {1}, std::as_bytes(std::span(values))}});
    const Checkpoint weights = Checkpoint::open_safetensors_file(dir / "f");
    EXPECT_THAT(test::usage_error_of([&] { read_transformer_config(dir.path(), weights); }),
                AllOf(HasSubstr(model), HasSubstr(tensor)));
  }
}

TEST(ModelConfig, WeightsWithoutBlocksOrWithGapsAreRefused) {
  const wan::test::TempDir dir;
  const auto error_of = [&](const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& tensors) {
    const std::vector<float> values(4096);
    std::vector<TensorView> views;
    for (const auto& [name, shape] : tensors) {
      const auto elements = static_cast<std::size_t>(checked_elements(shape).value());
      views.push_back({name, DType::f32, shape, std::as_bytes(std::span(values).first(elements))});
    }
    write_safetensors(dir / "f", views);
    const Checkpoint weights = Checkpoint::open_safetensors_file(dir / "f");
    return test::usage_error_of([&] { read_text_encoder_config(weights); });
  };
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> one_block{
      {"token_embedding.weight", {8, 4}},
      {"blocks.0.attn.q.weight", {4, 4}},
      {"blocks.0.ffn.fc1.weight", {8, 4}},
      {"blocks.0.pos_embedding.embedding.weight", {32, 2}}};
  const auto with = [&](std::size_t index, const std::string& name, std::vector<std::int64_t> shape) {
    auto tensors = one_block;
    if (index == tensors.size()) tensors.emplace_back();
    tensors[index] = {name, std::move(shape)};
    return tensors;
  };
  EXPECT_THAT(error_of({}), HasSubstr("no tensor 'token_embedding.weight'"));
  EXPECT_THAT(error_of(with(4, "blocks.2.norm1.weight", {4})),
              HasSubstr("2 blocks found, the last one being blocks.2"));
  EXPECT_THAT(error_of(with(4, "blocks.x.norm1.weight", {4})), HasSubstr("'blocks.x.norm1.weight'"));
  EXPECT_THAT(error_of(with(4, "blocks.9223372036854775808.a", {4})), HasSubstr("blocks.N"));
  EXPECT_THAT(error_of(with(0, "token_embedding.weight", {32})),
              HasSubstr("has the shape [32]; expected 2 dimensions"));
  EXPECT_THAT(error_of(with(0, "token_embedding.weight", {0, 4})), HasSubstr("has the shape [0, 4]"));
  EXPECT_THAT(error_of(with(3, "blocks.0.pos_embedding.embedding.weight", {32, 3})),
              HasSubstr("not a multiple of the 3"));
  EXPECT_THAT(error_of(with(3, "blocks.0.pos_embedding.embedding.weight", {30, 2})), HasSubstr("30 buckets"));
}

TEST(ModelConfig, SmallFilesMayNotAskForTerabytes) {
  using Shapes = std::map<std::string, std::vector<std::int64_t>>;
  const wan::test::TempDir dir;
  const auto written = [&](Shapes shapes, const std::string& name, std::vector<std::int64_t> shape) {
    shapes[name] = std::move(shape);
    test::write_headers_only(dir / "f.safetensors", shapes, "F8_E4M3");
    return Checkpoint::open_safetensors_file(dir / "f.safetensors");
  };
  const Shapes text{{"token_embedding.weight", {8, 1}},
                    {"blocks.0.attn.q.weight", {1 << 18, 1}},
                    {"blocks.0.ffn.fc1.weight", {8, 1}},
                    {"blocks.0.pos_embedding.embedding.weight", {4, 1024}}};
  const auto text_error = [&](const std::string& name, std::vector<std::int64_t> shape) {
    return test::usage_error_of([&] { read_text_encoder_config(written(text, name, std::move(shape))); });
  };
  EXPECT_EQ(read_text_encoder_config(written(text, "x", {1})).num_heads, 1024);
  EXPECT_THAT(text_error("blocks.0.pos_embedding.embedding.weight", {4, 1 << 18}),
              HasSubstr("262144 heads; at most 1024"));
  EXPECT_THAT(text_error("blocks.0.ffn.fc1.weight", {1 << 24, 1}),
              HasSubstr("expected 2 dimensions of 1 to"));
  const Shapes image{{"visual.patch_embedding.weight", {16, 3, 14, 14}},
                     {"visual.pos_embedding", {1, 257, 16}},
                     {"visual.transformer.0.mlp.0.weight", {8, 16}},
                     {"visual.transformer.1.mlp.0.weight", {8, 16}}};
  const auto image_error = [&](const std::string& name, std::vector<std::int64_t> shape) {
    return test::usage_error_of([&] { read_image_encoder_config(written(image, name, std::move(shape))); });
  };
  EXPECT_EQ(read_image_encoder_config(written(image, "x", {1})).image_size, 224);
  EXPECT_THAT(image_error("visual.pos_embedding", {1, 65 * 65 + 1, 16}),
              HasSubstr("CLIP would see 65 x 65 patches"));
  EXPECT_THAT(image_error("visual.patch_embedding.weight", {16, 3, 65, 65}), HasSubstr("1024 pixels in all"));
}

/// A checkpoint folder of empty files, for tests of recognition by names alone.
class Layout : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const auto* expert : {"high_noise_model", "low_noise_model"}) {
      write(std::string(expert) + "/config.json", R"({"model_type":"i2v"})");
      write(std::string(expert) + "/diffusion_pytorch_model.safetensors", "");
    }
    write("models_t5_umt5-xxl-enc-bf16.pth", "");
    write("Wan2.1_VAE.pth", "");
    write("google/umt5-xxl/spiece.model", "");
  }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((dir_ / name).parent_path());
    test::write_bytes(dir_ / name, text);
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(dir_ / name); }
  std::string error() const {
    return test::usage_error_of([&] { inspect_checkpoint(dir_.path()); });
  }
  wan::test::TempDir dir_;
};

TEST_F(Layout, CompleteFolderIsFound) {
  const CheckpointFolder folder = inspect_checkpoint(dir_.path());
  EXPECT_EQ(folder.task.name, "i2v-A14B");
  EXPECT_EQ(folder.tokenizer, dir_ / "google/umt5-xxl");
  EXPECT_EQ(folder.vae, dir_ / "Wan2.1_VAE.pth");
}

TEST_F(Layout, AllMissingPartsAreListedWithTheExpectedLayout) {
  remove("low_noise_model");
  remove("high_noise_model/config.json");
  remove("high_noise_model/diffusion_pytorch_model.safetensors");
  remove("Wan2.1_VAE.pth");
  remove("models_t5_umt5-xxl-enc-bf16.pth");
  remove("google");
  const std::string message = error();
  for (const auto* part :
       {"low_noise_model/", "high_noise_model/config.json",
        "high_noise_model/diffusion_pytorch_model.safetensors.index.json", "models_t5_umt5-xxl-enc-bf16.pth",
        "Wan2.1_VAE.pth", "google/umt5-xxl/", "Expected in it"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
  EXPECT_THAT(test::usage_error_of([&] { inspect_checkpoint(dir_ / "none"); }), HasSubstr("does not exist"));
}

TEST_F(Layout, OtherTasksAreNamed) {
  for (const auto& [file, model] : std::vector<std::pair<std::string, std::string>>{
           {"wav2vec2-large-xlsr-53-english/x", "S2V-14B"}, {"relighting_lora/x", "Animate-14B"}}) {
    write(file, "{}");
    EXPECT_THAT(error(), HasSubstr(model));
    remove(file.substr(0, file.find('/')));
  }
  remove("high_noise_model");
  remove("low_noise_model");
  for (const auto& [config, model] : std::vector<std::pair<std::string, std::string>>{
           {R"({"model_type":"ti2v"})",
            "lacks diffusion_pytorch_model.safetensors.index.json, Wan2.2_VAE.pth"},
           {R"({"model_type":"t2v","in_dim":48})", "TI2V-5B"},
           {R"({"model_type":"s2v"})", "S2V-14B"},
           {R"({"model_type":"animate"})", "Animate-14B"},
           {R"({"model_type":"i2v","_class_name":"WanAnimateModel"})", "Animate-14B"},
           {R"({"model_type":"vace"})", "VACE"}}) {
    write("config.json", config);
    EXPECT_THAT(error(), HasSubstr(model));
  }
}

TEST_F(Layout, ExpertsOfTwoTasksAreNoticed) {
  write("low_noise_model/config.json", R"({"model_type":"t2v"})");
  EXPECT_THAT(error(), HasSubstr("two checkpoints"));
  write("low_noise_model/config.json", "not JSON");
  EXPECT_THAT(error(), AllOf(HasSubstr("low_noise_model/config.json"), HasSubstr("not valid JSON")));
}

}  // namespace
}  // namespace wan::checkpoint
