#include "checkpoint/fingerprint.h"

#include <gtest/gtest.h>

#include <functional>

#include "checkpoint/safetensors.h"
#include "checkpoint_files.h"
#include "core/checksum.h"
#include "core/file.h"
#include "support/temp_dir.h"

namespace wan::checkpoint {
namespace {

/// A copy of a small checkpoint that a test may change.
class Fingerprint : public ::testing::Test {
 protected:
  Fingerprint() {
    std::filesystem::copy(test::test_data("parity/i2v_portrait_ragged/ckpt"), root_,
                          std::filesystem::copy_options::recursive);
    folder_ = inspect_checkpoint(root_);
  }

  std::string now() const { return fingerprint(folder_); }

  /// Flips the sign of a tensor's element: the highest bit of its last byte.
  static void flip_sign(const TensorEntry& entry, std::int64_t element) {
    const std::size_t size = size_bytes(entry.dtype);
    const auto at =
        static_cast<std::streamoff>(entry.begin_byte + (static_cast<std::uint64_t>(element) + 1) * size - 1);
    std::fstream file(entry.file, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 0x80));
  }

  static void append_blank(const std::filesystem::path& path) { std::ofstream(path, std::ios::app) << ' '; }

  wan::test::TempDir dir_;
  std::filesystem::path root_ = dir_ / "ckpt";
  CheckpointFolder folder_;
};

TEST_F(Fingerprint, IsTheSameWhereverTheFilesLie) {
  EXPECT_EQ(now().size(), 32U);
  EXPECT_EQ(now(), fingerprint(inspect_checkpoint(test::test_data("parity/i2v_portrait_ragged/ckpt"))));
  EXPECT_NE(now(), fingerprint(inspect_checkpoint(test::test_data("parity/i2v_landscape/ckpt"))));
}

TEST_F(Fingerprint, ValuesOfEveryFileCount) {
  const std::string before = now();
  const auto expect_change = [&](const Checkpoint& file) {
    const std::vector<std::string> names = file.names();
    for (const std::string& name : {names.front(), names[names.size() / 2], names.back()}) {
      const TensorEntry& entry = file.entry(name);
      flip_sign(entry, 0);
      EXPECT_NE(now(), before) << entry.file << " " << name;
      flip_sign(entry, 0);
    }
  };
  expect_change(Checkpoint::open_safetensors_folder(folder_.experts.front().path));
  expect_change(Checkpoint::open_safetensors_folder(folder_.experts.back().path));
  expect_change(Checkpoint::open_torch_archive(folder_.text_encoder));
  expect_change(Checkpoint::open_torch_archive(folder_.vae));
  EXPECT_EQ(now(), before);
}

TEST_F(Fingerprint, ConfigurationAndTokenizerCountWhole) {
  std::string before = now();
  for (const std::filesystem::path& file :
       {folder_.experts.front().path / "config.json", folder_.experts.back().path / "config.json",
        folder_.tokenizer / "tokenizer.json"}) {
    append_blank(file);
    EXPECT_NE(now(), before) << file;
    before = now();
  }
}

TEST_F(Fingerprint, ExchangedExpertsAreAnotherCheckpoint) {
  const std::string before = now();
  std::swap(folder_.experts.front().path, folder_.experts.back().path);
  EXPECT_NE(now(), before);
}

/// An expert in one file and the same expert in shards give the same results.
TEST_F(Fingerprint, ShardsMakeNoDifference) {
  const std::string before = now();
  const Checkpoint expert = Checkpoint::open_safetensors_folder(folder_.experts.back().path);
  const std::filesystem::path copy = dir_ / "expert";
  std::filesystem::create_directory(copy);
  std::filesystem::copy(folder_.experts.back().path / "config.json", copy / "config.json");
  std::vector<std::string> contents;
  std::vector<TensorView> views[2];
  for (const std::string& name : expert.names()) {
    const TensorEntry& entry = expert.entry(name);
    std::string& bytes =
        contents.emplace_back(static_cast<std::size_t>(entry.elements()) * size_bytes(entry.dtype), '\0');
    read_at(open_regular_file(entry.file), entry.file, entry.begin_byte,
            std::as_writable_bytes(std::span(bytes)));
  }
  std::string index = R"({"metadata":{},"weight_map":{)";
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const TensorEntry& entry = expert.entry(expert.names()[i]);
    views[i % 2].push_back({.name = entry.name,
                            .dtype = entry.dtype,
                            .shape = entry.shape,
                            .bytes = std::as_bytes(std::span(contents[i]))});
    index += (i == 0 ? "\"" : ",\"") + entry.name + "\":\"part-" + std::to_string(i % 2) + ".safetensors\"";
  }
  for (int part = 0; part < 2; ++part)
    write_safetensors(copy / ("part-" + std::to_string(part) + ".safetensors"), views[part]);
  std::ofstream(copy / "diffusion_pytorch_model.safetensors.index.json") << index << "}}";
  folder_.experts.back().path = copy;
  EXPECT_EQ(now(), before);
}

/// The fingerprint reads a sample of a large tensor: few bytes, but its first and its last elements.
TEST_F(Fingerprint, LargeTensorsAreSampledFromEndToEnd) {
  const std::string before = now();
  const Checkpoint encoder = Checkpoint::open_torch_archive(folder_.text_encoder);
  const TensorEntry* large = nullptr;
  for (const auto& [name, entry] : encoder.entries()) {
    if (large == nullptr || entry.elements() > large->elements()) large = &entry;
  }
  ASSERT_GT(large->elements(), 16'384);
  for (const std::int64_t element : {std::int64_t{0}, large->elements() - 1}) {
    flip_sign(*large, element);
    EXPECT_NE(now(), before) << element;
    flip_sign(*large, element);
  }
}

}  // namespace
}  // namespace wan::checkpoint
