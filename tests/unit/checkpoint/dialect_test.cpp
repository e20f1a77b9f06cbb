// Checkpoints as users have them: the same tensors under the names, and in the files, of other libraries.
#include "checkpoint/dialects/dialect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <span>

#include "checkpoint/checkpoint.h"
#include "checkpoint/fingerprint.h"
#include "checkpoint/folder_notes.h"
#include "checkpoint/model_config.h"
#include "checkpoint_files.h"
#include "dialect_files.h"
#include "support/temp_dir.h"

namespace wan::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Every tensor of `official` is in `other`, of the same shape, with the same bytes as floats and as bf16,
/// whole and from the middle.
void expect_same_tensors(const Checkpoint& official, const Checkpoint& other) {
  for (const auto& [name, entry] : official.entries()) {
    if (name.starts_with("textual.") || name == "log_scale" || name == "visual.head") continue;  // not used
    ASSERT_TRUE(other.contains(name)) << name;
    const TensorEntry& same = other.entry(name);
    ASSERT_EQ(same.shape, entry.shape) << name;
    const auto elements = entry.elements();
    for (const std::int64_t first : {std::int64_t{0}, elements / 5, elements / 2}) {
      const auto count = static_cast<std::size_t>(first == 0 ? elements : elements / 4);
      std::vector<float> floats(count);
      std::vector<float> other_floats(count);
      official.read_floats(entry, first, floats);
      other.read_floats(same, first, other_floats);
      ASSERT_EQ(floats, other_floats) << name << " from " << first;
      std::vector<std::uint16_t> bits(count);
      std::vector<std::uint16_t> other_bits(count);
      official.read_bf16(entry, first, bits);
      other.read_bf16(same, first, other_bits);
      ASSERT_EQ(bits, other_bits) << name << " from " << first;
    }
  }
}

class Repository : public ::testing::TestWithParam<std::pair<const char*, const char*>> {
 protected:
  void SetUp() override { test::write_repository(GetParam().first, root_); }
  wan::test::TempDir dir_;
  fs::path root_ = dir_ / "downloaded";  // a name decides nothing
};

TEST_P(Repository, OfDiffusersHasTheTensorsOfTheOfficialFiles) {
  const CheckpointFolder official =
      inspect_checkpoint(test::test_data(std::string("parity/") + GetParam().first + "/ckpt"));
  const CheckpointFolder folder = inspect_checkpoint(root_, official.task.name);
  EXPECT_EQ(folder.task.name, GetParam().second);
  ASSERT_EQ(folder.experts.size(), official.experts.size());
  for (std::size_t i = 0; i < folder.experts.size(); ++i) {
    EXPECT_EQ(folder.experts[i].expert, official.experts[i].expert);
    const auto weights = Checkpoint::open_part(Part::transformer, folder.experts[i].path);
    const auto same = Checkpoint::open_safetensors_folder(official.experts[i].path);
    EXPECT_EQ(weights.names(), same.names());
    expect_same_tensors(same, weights);
    EXPECT_EQ(form_text(Part::transformer, weights.entries()), "names of Diffusers");
    EXPECT_EQ(form_text(Part::transformer, same.entries()), "official names");
    EXPECT_EQ(read_transformer_config(folder.experts[i].path, weights),
              read_transformer_config(official.experts[i].path, same));
  }
  const auto compare = [&](Part part, const fs::path& path, const fs::path& same) {
    expect_same_tensors(Checkpoint::open_torch_archive(same), Checkpoint::open_part(part, path));
  };
  compare(Part::vae, folder.vae, official.vae);
  compare(Part::text_encoder, folder.text_encoder, official.text_encoder);
  if (!official.image_encoder.empty())
    compare(Part::image_encoder, folder.image_encoder, official.image_encoder);
  EXPECT_EQ(fingerprint(folder).size(), 32U);
  EXPECT_THAT(folder_notes(folder), IsEmpty());
  EXPECT_GT(parts_bytes(folder), 100'000U);
}

INSTANTIATE_TEST_SUITE_P(OfEachTask, Repository,
                         ::testing::Values(std::pair{"i2v_landscape", "i2v-A14B"},
                                           std::pair{"t2v_square", "t2v-A14B"},
                                           std::pair{"ti2v_text", "ti2v-5B"},
                                           std::pair{"wan21_t2v", "t2v-1.3B"},
                                           std::pair{"wan21_i2v", "i2v-14B"}));

/// A Diffusers repository of two experts, to be broken.
class BrokenRepository : public ::testing::Test {
 protected:
  void SetUp() override { test::write_repository("t2v_square", root_); }
  std::string error() const {
    return test::usage_error_of([&] {
      const CheckpointFolder folder = inspect_checkpoint(root_);
      for (const ExpertFolder& expert : folder.experts)
        read_transformer_config(expert.path, Checkpoint::open_part(Part::transformer, expert.path));
      Checkpoint::open_part(Part::vae, folder.vae);
      Checkpoint::open_part(Part::text_encoder, folder.text_encoder);
    });
  }
  void write(const char* name, const std::string& text) const { test::write_bytes(root_ / name, text); }
  /// Sets a key of transformer/config.json.
  void set(const std::string& key, const std::string& value) const {
    std::string text = test::read_bytes(root_ / "transformer/config.json");
    const std::size_t at = text.find("\"" + key + "\":");
    const std::size_t end = text.find_first_of(",\n", at);
    write("transformer/config.json", text.replace(at, end - at, "\"" + key + "\": " + value));
  }
  wan::test::TempDir dir_;
  fs::path root_ = dir_ / "repository";
};

TEST_F(BrokenRepository, MissingPartsAreListedWithTheExpectedLayout) {
  fs::remove_all(root_ / "transformer_2");
  fs::remove(root_ / "vae/diffusion_pytorch_model.safetensors");
  fs::remove_all(root_ / "tokenizer");
  EXPECT_THAT(error(),
              AllOf(HasSubstr("lacks transformer_2/, vae/diffusion_pytorch_model.safetensors, tokenizer/"),
                    HasSubstr("  transformer_2/  the same\n"), HasSubstr("  text_encoder/ ")));
  fs::remove(root_ / "transformer/config.json");
  EXPECT_THAT(error(), HasSubstr("lacks transformer/config.json"));
}

TEST_F(BrokenRepository, AnotherPipelineOrModelIsNamed) {
  write("model_index.json", R"({"_class_name":"FluxPipeline"})");
  EXPECT_THAT(error(), HasSubstr("_class_name is '\"FluxPipeline\"'; expected 'WanPipeline'"));
  write("model_index.json", R"({"_class_name":"WanPipeline"})");
  set("_class_name", "\"WanVACETransformer3DModel\"");
  EXPECT_THAT(error(), HasSubstr("is VACE"));
  set("_class_name", "\"WanTransformer3DModel\"");
  set("in_channels", "33");
  EXPECT_THAT(error(), HasSubstr("'in_channels' is '33'; expected 16"));
}

TEST_F(BrokenRepository, AConfigThatDoesNotFitNamesTheFilesOwnKeys) {
  set("num_attention_heads", "4294967296");
  EXPECT_THAT(error(), HasSubstr("'num_attention_heads' is '4294967296'"));
  set("num_attention_heads", "5");
  EXPECT_THAT(error(), HasSubstr("'num_attention_heads x attention_head_dim' is"));
  test::write_repository("t2v_square", dir_ / "again");
  fs::copy(dir_ / "again/transformer/config.json", root_ / "transformer/config.json",
           fs::copy_options::overwrite_existing);
  set("out_channels", "20");
  EXPECT_THAT(error(), HasSubstr("'out_channels' is 20, but the tensors give 16"));
  set("out_channels", "16");
  set("qk_norm", "\"layer_norm\"");
  EXPECT_THAT(error(),
              HasSubstr("'qk_norm' is '\"layer_norm\"'; only \"rms_norm_across_heads\" is supported"));
  set("qk_norm", "\"rms_norm_across_heads\"");
  set("pos_embed_seq_len", "514");
  EXPECT_THAT(error(), HasSubstr("is Wan 2.1 FLF2V-14B"));
}

TEST_F(BrokenRepository, MixedDialectsAreNoticed) {
  test::WrittenTensors tensors = test::in_dialect(
      test::tensors_of(
          Checkpoint::open_safetensors_folder(test::test_data("parity/t2v_square/ckpt/low_noise_model"))),
      "transformer");
  auto node = tensors.extract("blocks.1.attn1.to_q.weight");
  node.key() = "blocks.1.self_attn.q.weight";
  tensors.insert(std::move(node));
  fs::remove_all(root_ / "transformer_2");
  fs::create_directory(root_ / "transformer_2");
  fs::copy(root_ / "transformer/config.json", root_ / "transformer_2/config.json");
  test::write_file(root_ / "transformer_2/diffusion_pytorch_model.safetensors", tensors);
  EXPECT_THAT(error(), AllOf(HasSubstr("'blocks.1.self_attn.q.weight' has its official name"),
                             HasSubstr("that of Diffusers: names of two dialects are mixed")));
}

TEST_F(BrokenRepository, SwappedPartsAreNamed) {
  fs::rename(root_ / "vae", root_ / "x");
  fs::rename(root_ / "text_encoder", root_ / "vae");
  fs::rename(root_ / "x", root_ / "text_encoder");
  EXPECT_THAT(error(),
              AllOf(HasSubstr("it holds the tensors of a umT5 text encoder, and a VAE must be at this place"),
                    HasSubstr("setting 'text encoder'")));
}

TEST(Repositories, OfTheHubsCacheAreFound) {
  const wan::test::TempDir dir;
  const fs::path entry = dir / "models--Wan-AI--Wan2.1-T2V-1.3B-Diffusers";
  const fs::path snapshot = entry / "snapshots/0fad7";
  test::write_repository("wan21_t2v", dir / "files");
  fs::create_directories(entry / "blobs");
  int count = 0;  // each file is a link to a blob that has no ending
  for (const auto& file : fs::recursive_directory_iterator(dir / "files")) {
    if (!file.is_regular_file()) continue;
    const fs::path blob = entry / "blobs" / std::to_string(count++);
    fs::rename(file.path(), blob);
    const fs::path link = snapshot / fs::relative(file.path(), dir / "files");
    fs::create_directories(link.parent_path());
    fs::create_symlink(blob, link);
  }
  const CheckpointFolder folder = inspect_checkpoint(entry);
  EXPECT_EQ(folder.task.name, "t2v-1.3B");
  EXPECT_GT(Checkpoint::open_part(Part::transformer, folder.experts.front().path).entries().size(), 50U);
  EXPECT_THAT(test::usage_error_of([&] { inspect_checkpoint(snapshot / "transformer"); }),
              HasSubstr("is a part of a checkpoint; give " + snapshot.string()));
  fs::remove(entry / "blobs/0");
  EXPECT_THAT(test::usage_error_of([&] {
                const CheckpointFolder cut = inspect_checkpoint(entry);
                fingerprint(cut);
              }),
              HasSubstr("which is missing"));
}

TEST(Dialects, ClipWithoutOneOfQueryKeyAndValueIsRefused) {
  const wan::test::TempDir dir;
  test::WrittenTensors tensors = test::in_dialect(
      test::tensors_of(Checkpoint::open_torch_archive(
          test::test_data("parity/wan21_i2v/ckpt/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"))),
      "clip");
  tensors.erase("vision_model.encoder.layers.1.self_attn.k_proj.bias");
  test::write_file(dir / "clip.safetensors", tensors);
  EXPECT_THAT(
      test::usage_error_of([&] { Checkpoint::open_part(Part::image_encoder, dir / "clip.safetensors"); }),
      HasSubstr("one of the query, key and value tensors beside it is missing"));
}

TEST(Dialects, ThePrefixOfLoneFilesIsRemoved) {
  const wan::test::TempDir dir;
  const auto official =
      Checkpoint::open_safetensors_folder(test::test_data("parity/t2v_square/ckpt/low_noise_model"));
  for (const std::string prefix : {"model.diffusion_model.", "diffusion_model.", "model.", ""}) {
    test::WrittenTensors tensors;
    for (auto& [name, tensor] : test::tensors_of(official)) tensors[prefix + name] = tensor;
    test::write_file(dir / "expert.safetensors", tensors);
    const auto weights = Checkpoint::open_part(Part::transformer, dir / "expert.safetensors");
    expect_same_tensors(official, weights);
    EXPECT_EQ(form_text(Part::transformer, weights.entries()), "official names");
  }
}

TEST(Dialects, AScaleMayBeANumberWithoutDimensions) {
  const wan::test::TempDir dir;
  const auto bytes = [](const auto& values) {
    const auto view = std::as_bytes(std::span(values));
    return std::vector<std::byte>(view.begin(), view.end());
  };
  const std::vector<std::uint8_t> one_and_two{0x38, 0x40};  // in F8_E4M3
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{1, 2}, {2, 1}, {2}, {1, 1, 2}}) {
    test::write_file(
        dir / "vae.safetensors",
        {{"x.weight", {.dtype = DType::f8_e4m3, .shape = shape, .bytes = bytes(one_and_two)}},
         {"x.scale_weight", {.dtype = DType::f32, .shape = {}, .bytes = bytes(std::vector{0.5F})}}});
    const auto weights = Checkpoint::open_part(Part::vae, dir / "vae.safetensors");
    std::vector<float> values(2);
    weights.read_floats(weights.entry("x.weight"), 0, values);
    EXPECT_EQ(values, (std::vector{0.5F, 1.0F})) << shape_text(shape);
  }
}

}  // namespace
}  // namespace wan::checkpoint
