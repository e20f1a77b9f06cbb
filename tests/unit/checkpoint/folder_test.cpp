// Folders and files that users name or bring instead of the official ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/folder_notes.h"
#include "checkpoint/locate.h"
#include "checkpoint/model_config.h"
#include "checkpoint_files.h"
#include "support/temp_dir.h"

namespace wan::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::string_literals;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  test::write_bytes(path, text);
}

/// A checkpoint of files that contain their own names, for tests of recognition by names and sizes.
void write_checkpoint(const fs::path& root) {
  for (const auto* expert : {"high_noise_model", "low_noise_model"}) {
    write(root / expert / "config.json", R"({"model_type":"i2v"})");
    write(root / expert / "diffusion_pytorch_model.safetensors", expert);
  }
  write(root / "models_t5_umt5-xxl-enc-bf16.pth", "t5");
  write(root / "Wan2.1_VAE.pth", "vae");
  write(root / "google/umt5-xxl/tokenizer.json", "{}");
}

class Folder : public ::testing::Test {
 protected:
  void SetUp() override { write_checkpoint(root_); }
  static std::string error_of(const fs::path& given) {
    return test::usage_error_of([&] { inspect_checkpoint(given); });
  }
  wan::test::TempDir dir_;
  fs::path root_ = dir_ / "model";
};

TEST_F(Folder, AFolderTooDeepTooHighOrAFileNamesTheRightOne) {
  const std::string give = "; give " + root_.string();
  for (const char* part : {"high_noise_model", "low_noise_model/", "google", "google/umt5-xxl"}) {
    EXPECT_THAT(error_of(root_ / part), AllOf(HasSubstr("is a part of a checkpoint"), HasSubstr(give)))
        << part;
  }
  for (const char* file : {"Wan2.1_VAE.pth", "high_noise_model/diffusion_pytorch_model.safetensors"}) {
    EXPECT_THAT(error_of(root_ / file),
                AllOf(HasSubstr("is a file, but a checkpoint is a folder"), HasSubstr(give)))
        << file;
  }
  EXPECT_THAT(error_of(dir_.path()),
              AllOf(HasSubstr("is not a checkpoint, but contains one"), HasSubstr(give)));
  write_checkpoint(dir_ / "other");
  EXPECT_THAT(error_of(dir_.path()), HasSubstr(root_.string() + " or " + (dir_ / "other").string()));
}

TEST_F(Folder, ALinkToNothingIsNamed) {
  fs::create_symlink("../nowhere", dir_ / "link");
  EXPECT_THAT(error_of(dir_ / "link"), HasSubstr("(a link to '../nowhere', which is missing)"));
  fs::remove(root_ / "Wan2.1_VAE.pth");
  fs::create_symlink("../../blobs/0123", root_ / "Wan2.1_VAE.pth");
  EXPECT_THAT(error_of(root_),
              HasSubstr("lacks Wan2.1_VAE.pth (a link to '../../blobs/0123', which is missing)"));
  EXPECT_THAT(test::usage_error_of([&] { Checkpoint::open_torch_archive(root_ / "Wan2.1_VAE.pth"); }),
              HasSubstr("a link to '../../blobs/0123'"));
}

TEST_F(Folder, TheHubsCacheHasItsOnlySnapshotTaken) {
  const fs::path entry = dir_ / "hub/models--Wan-AI--Wan2.2-I2V-A14B";
  write_checkpoint(entry / "snapshots/abc123");
  write(entry / "refs/main", "abc123\n");
  write(entry / "blobs/0123", "");
  for (const char* given : {"", "snapshots", "refs", "blobs", "snapshots/abc123"}) {
    EXPECT_TRUE(fs::equivalent(inspect_checkpoint(entry / given).root, entry / "snapshots/abc123")) << given;
  }
  EXPECT_THAT(error_of(entry / "snapshots/abc123/low_noise_model"),
              HasSubstr("give " + (entry / "snapshots/abc123").string()));
  EXPECT_THAT(error_of(dir_ / "hub"), HasSubstr("give " + entry.string()));
  EXPECT_THAT(error_of(dir_.path()), HasSubstr(entry.string()));  // as HF_HOME

  write_checkpoint(entry / "snapshots/def456");
  EXPECT_THAT(error_of(entry), AllOf(HasSubstr("has 2 snapshots; choose one of them"),
                                     HasSubstr("snapshots/def456"), HasSubstr("refs/main names abc123")));
  fs::remove_all(entry / "snapshots");
  fs::create_directory(entry / "snapshots");
  EXPECT_THAT(error_of(entry), HasSubstr("has no snapshot: the download did not finish"));
}

TEST_F(Folder, PartsInOtherFormsAreNamed) {
  fs::remove(root_ / "Wan2.1_VAE.pth");
  const fs::path other = root_ / "wan_2.1_vae.safetensors";
  const std::string entry = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  write(other, test::safetensors(R"({"decoder.conv1.weight":)" + entry, 4));
  write(root_ / "lightning.safetensors",
        test::safetensors(R"({"blocks.0.ffn.0.lora_up.weight":)" + entry, 4));
  write(root_ / "model.gguf", "GGUF and more");
  EXPECT_THAT(error_of(root_),
              AllOf(HasSubstr("lacks Wan2.1_VAE.pth"), HasSubstr("are named by options:"),
                    HasSubstr("'wan_2.1_vae.safetensors': a VAE: setting 'VAE' " + other.string()),
                    HasSubstr("is a GGUF file"), HasSubstr("it is a LoRA")));
}

std::vector<std::string> notes_of(const fs::path& root) { return folder_notes(inspect_checkpoint(root)); }

TEST_F(Folder, FilesThatAreNotUsedAreNamed) {
  EXPECT_THAT(notes_of(root_), IsEmpty());
  write(root_ / "README.md", "");
  write(root_ / "assets/picture.png", "");
  EXPECT_THAT(notes_of(root_), IsEmpty());
  write(root_ / "low_noise_model/lightning_lora.safetensors", "");
  write(root_ / "high_noise_model/diffusion_pytorch_model.safetensors.index.json",
        R"({"weight_map":{"w":"diffusion_pytorch_model-00001-of-00001.safetensors"}})");
  write(root_ / "high_noise_model/diffusion_pytorch_model-00001-of-00001.safetensors", "shard");
  write(root_ / "old_vae.pth", "");
  EXPECT_THAT(notes_of(root_),
              ElementsAre(HasSubstr("not used: 'old_vae.pth'"),
                          AllOf(HasSubstr("not used: 'high_noise_model/diffusion_pytorch_model.safetensors'"),
                                HasSubstr("index.json lists are read")),
                          HasSubstr("not used: 'low_noise_model/lightning_lora.safetensors'")));
}

TEST_F(Folder, TheSameWeightsInBothPlacesAreNoted) {
  const std::string name = "diffusion_pytorch_model.safetensors";
  const std::string weights(3'000'000, 'w');
  write(root_ / "high_noise_model" / name, weights);
  write(root_ / "low_noise_model" / name, weights);
  EXPECT_THAT(notes_of(root_), ElementsAre(HasSubstr("contain the same weights")));
  fs::remove(root_ / "low_noise_model" / name);
  fs::create_hard_link(root_ / "high_noise_model" / name, root_ / "low_noise_model" / name);
  EXPECT_THAT(notes_of(root_), ElementsAre(HasSubstr("contain the same weights")));
  fs::remove(root_ / "low_noise_model" / name);
  write(root_ / "low_noise_model" / name, std::string(2'999'999, 'w') + "x");
  EXPECT_THAT(notes_of(root_), IsEmpty());
}

TEST_F(Folder, OnlyThePartsAreCounted) {
  const std::uintmax_t bytes = parts_bytes(inspect_checkpoint(root_));
  write(root_ / "lost+found/a", "something else");
  fs::permissions(root_ / "lost+found", fs::perms::none);
  EXPECT_EQ(parts_bytes(inspect_checkpoint(root_)), bytes);
  EXPECT_THAT(notes_of(root_), IsEmpty());
  fs::permissions(root_ / "lost+found", fs::perms::owner_all);
}

class TransformerInRoot : public ::testing::Test {
 protected:
  void SetUp() override {
    write(root_ / "diffusion_pytorch_model.safetensors", "weights");
    write(root_ / "models_t5_umt5-xxl-enc-bf16.pth", "t5");
    write(root_ / "Wan2.1_VAE.pth", "vae");
    write(root_ / "google/umt5-xxl/tokenizer.json", "{}");
    set_width(64);
  }
  void set_width(int dim) const {
    write(root_ / "config.json", R"({"model_type":"t2v","dim":)" + std::to_string(dim) + "}");
  }
  std::string task(std::string_view wanted = {}) const { return inspect_checkpoint(root_, wanted).task.name; }
  wan::test::TempDir dir_;
  fs::path root_ = dir_ / "Wan2.2-I2V-A14B";  // a name decides nothing
};

TEST_F(TransformerInRoot, IsOneExpert) {
  const CheckpointFolder folder = inspect_checkpoint(root_);
  EXPECT_EQ(folder.task.name, "t2v-1.3B");
  ASSERT_EQ(folder.experts.size(), 1U);
  EXPECT_EQ(folder.experts.front().expert, Expert::single);
  EXPECT_EQ(folder.experts.front().path, root_);
  EXPECT_EQ(folder.experts.front().name(), "transformer");
  EXPECT_THAT(folder_notes(folder), IsEmpty());
  write(root_ / "lora.safetensors", "lora");
  EXPECT_THAT(folder_notes(folder), ElementsAre(HasSubstr("not used: 'lora.safetensors'")));
  EXPECT_EQ(parts_bytes(folder), fs::file_size(root_ / "config.json") + "weightst5vae{}"s.size());
}

TEST_F(TransformerInRoot, PartsInWhosePlaceOthersWereNamedAreSaidToBeSo) {
  write(dir_ / "other/config.json", R"({"model_type":"t2v","dim":64})");
  write(dir_ / "other/diffusion_pytorch_model.safetensors", "weights");
  write(dir_ / "vae.pth", "vae");
  GivenParts parts;
  parts.model = dir_ / "other";
  parts.vae = dir_ / "vae.pth";
  EXPECT_THAT(
      folder_notes(inspect_checkpoint(root_, parts)),
      ElementsAre("not used: 'Wan2.1_VAE.pth'; another file was named in its place",
                  "not used: 'diffusion_pytorch_model.safetensors'; another file was named in its place"));
}

TEST_F(TransformerInRoot, WidthDecidesBetweenTasksAndElseTheWish) {
  EXPECT_EQ(task(), "t2v-1.3B");
  EXPECT_EQ(task("t2v-14B"), "t2v-14B");
  EXPECT_EQ(task("t2v-A14B"), "t2v-1.3B");  // other files: the caller compares
  set_width(5120);
  EXPECT_EQ(task(), "t2v-14B");
  EXPECT_EQ(task("t2v-1.3B"), "t2v-14B");
  set_width(1536);
  EXPECT_EQ(task("t2v-14B"), "t2v-1.3B");
}

TEST_F(TransformerInRoot, MissingPartsAreListedWithTheExpectedLayout) {
  for (const char* part : {"diffusion_pytorch_model.safetensors", "Wan2.1_VAE.pth"}) fs::remove(root_ / part);
  EXPECT_THAT(test::usage_error_of([&] { inspect_checkpoint(root_); }),
              AllOf(HasSubstr("lacks diffusion_pytorch_model.safetensors.index.json, Wan2.1_VAE.pth."),
                    HasSubstr("  config.json, diffusion_pytorch_model*.safetensors"),
                    ::testing::Not(HasSubstr("high_noise_model"))));
}

TEST_F(TransformerInRoot, ClipIsAPartOfImageToVideo) {
  const fs::path clip = root_ / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth";
  write(root_ / "config.json", R"({"model_type":"i2v","dim":5120})");
  EXPECT_THAT(test::usage_error_of([&] { inspect_checkpoint(root_); }),
              AllOf(HasSubstr("lacks " + clip.filename().string() + " (CLIP). Expected in it:"),
                    HasSubstr(clip.filename().string() + "   or .safetensors\n")));
  fs::path other = clip;
  other.replace_extension(".safetensors");
  write(other, "clip");
  EXPECT_EQ(inspect_checkpoint(root_).image_encoder, other);
  write(clip, "clip");
  const CheckpointFolder folder = inspect_checkpoint(root_);
  EXPECT_EQ(folder.task.name, "i2v-14B");
  EXPECT_EQ(folder.image_encoder, clip);
  EXPECT_THAT(folder_notes(folder), ElementsAre(HasSubstr("not used: '" + other.filename().string() + "'")));
}

class ForeignFile : public ::testing::Test {
 protected:
  /// The errors for these bytes in the place of a .pth, a .safetensors and a config.json.
  std::vector<std::string> errors(const std::string& bytes) const {
    test::write_bytes(dir_ / "config.json", bytes);
    return {test::usage_error_of([&] { Checkpoint::open_torch_archive(dir_ / "config.json"); }),
            test::usage_error_of([&] { Checkpoint::open_safetensors_file(dir_ / "config.json"); }),
            test::usage_error_of([&] { read_transformer_config_file(dir_ / "config.json", 8); })};
  }
  wan::test::TempDir dir_;
};

TEST_F(ForeignFile, PointersPagesAndEmptyFilesAreNamedEverywhere) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789\nsize 508\n";
  for (const std::string& error : errors(pointer))
    EXPECT_THAT(error, AllOf(HasSubstr("Git LFS pointer"), HasSubstr("git lfs pull")));
  for (const std::string& error : errors("\n<!DOCTYPE HTML><html><body>Sign in</body></html>")) {
    EXPECT_THAT(error, AllOf(HasSubstr("is an HTML page"), HasSubstr("Fetch it again")));
  }
  for (const std::string& error : errors("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"))
    EXPECT_THAT(error, HasSubstr("is an XML page: the download received an error"));
  for (const std::string& error : errors("")) EXPECT_THAT(error, HasSubstr("is empty (0 bytes)"));
  for (const std::string& error : errors("GGUF\3\0\0\0"s)) EXPECT_THAT(error, HasSubstr("is a GGUF file"));
}

TEST_F(ForeignFile, TextsZerosAndArchivesInPlaceOfWeights) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"Entry not found", "is a text ('Entry not found'): the download received a message"},
      {"Access denied\n\tfor a\n", "is a text ('Access denied'): the download received a message"},
      {std::string(4096, '\0'), "begins with zeros only: its download did not finish"},
      {"\x1F\x8B\x08\x00 and so on"s, "is compressed with gzip; unpack it"}};
  for (const auto& [bytes, said] : cases) {
    const std::vector<std::string> found = errors(bytes);
    EXPECT_THAT(found[0], HasSubstr(said));
    EXPECT_THAT(found[1], HasSubstr(said));
  }
}

TEST_F(ForeignFile, OtherFormatsOfWeightsAreNamed) {
  const std::string safetensors =
      test::safetensors(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  test::write_bytes(dir_ / "VAE.pth", safetensors);
  EXPECT_THAT(test::usage_error_of([&] { Checkpoint::open_torch_archive(dir_ / "VAE.pth"); }),
              AllOf(HasSubstr("is a safetensors file"), HasSubstr("Take the .pth file")));
}

TEST_F(ForeignFile, EightBitWeightsAreNamed) {
  for (const char* type : {"F8_E8M0", "F4", "F6_E2M3"}) {
    test::write_bytes(
        dir_ / "f",
        test::safetensors(R"({"w":{"dtype":")"s + type + R"(","shape":[4],"data_offsets":[0,4]}})", 4));
    EXPECT_THAT(
        test::usage_error_of([&] { Checkpoint::open_safetensors_file(dir_ / "f"); }),
        AllOf(HasSubstr("tensor 'w' has the dtype '"s + type), HasSubstr("not NVFP4, MXFP8 or MXFP4")));
  }
}

TEST_F(ForeignFile, LorasAndOtherContentsAreNamed) {
  const auto error_with = [&](const std::string& name) {
    const fs::path file = dir_ / "f.safetensors";
    test::write_bytes(
        file,
        test::safetensors(R"({")" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
    return test::usage_error_of([&] { Checkpoint::open_part(Part::transformer, file); });
  };
  for (const auto& [name, what] : std::vector<std::pair<std::string, std::string>>{
           {"blocks.0.ffn.0.lora_down.weight", "it is a LoRA"},
           {"diffusion_model.blocks.0.self_attn.q.lora_A.weight", "it is a LoRA"},
           {"lora_unet_blocks_0_self_attn_q.alpha", "it is a LoRA"},
           {"blocks.0.diff_m", "it is a LoRA (differences"},
           {"blocks.0.ffn.0.weight_scale_2", "NVFP4"},
           {"blocks.0.ffn.0.weight.absmax", "bitsandbytes"},
           {"blocks.0.ffn.0.qweight", "GPTQ"},
           {"model.diffusion_model.double_blocks.0.img_mlp.0.weight", "FLUX or HunyuanVideo"},
           {"transformer_blocks.0.attn1.to_q.weight", "LTX-Video"},
           {"model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion"},
           {"token_embedding.weight", "a umT5 text encoder, and a diffusion transformer must be"},
           {"decoder.conv1.weight", "a VAE, and a diffusion transformer must be"}}) {
    EXPECT_THAT(error_with(name), HasSubstr(what)) << name;
  }
}

TEST_F(ForeignFile, TextLengthIsTheOfficialOne) {
  for (const char* length : {"4", "513", "16777216"}) {
    test::write_bytes(dir_ / "config.json",
                      R"({"model_type":"i2v","dim":96,"ffn_dim":200,"in_dim":36,"num_heads":4,)"
                      R"("num_layers":2,"text_dim":8,"text_len":)"s +
                          length + "}");
    EXPECT_THAT(test::usage_error_of([&] { read_transformer_config_file(dir_ / "config.json", 8); }),
                HasSubstr("config.json: 'text_len' is '"s + length + "'; only 512 is supported"));
  }
}

}  // namespace
}  // namespace wan::checkpoint
