#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "checkpoint/checkpoint.h"
#include "checkpoint_files.h"
#include "support/temp_dir.h"

namespace wan::checkpoint {
namespace {

using ::testing::ElementsAre;

TEST(Safetensors, WrittenTensorsAreReadBack) {
  const wan::test::TempDir dir;
  std::vector<float> latent(30);
  std::iota(latent.begin(), latent.end(), -3.5F);
  const std::vector<std::uint8_t> frames{1, 2, 250, 4, 5, 6};
  const std::vector<TensorView> tensors{{"frames", DType::u8, {1, 1, 2, 3}, std::as_bytes(std::span(frames))},
                                        {"latent", DType::f32, {2, 3, 5}, std::as_bytes(std::span(latent))}};
  write_safetensors(dir / "a.safetensors", tensors);

  const Checkpoint read = Checkpoint::open_safetensors_file(dir / "a.safetensors");
  EXPECT_THAT(read.names(), ElementsAre("frames", "latent"));
  const TensorEntry& entry = read.entry("latent");
  EXPECT_EQ(entry.begin_byte % 8, 0U);
  EXPECT_THAT(entry.shape, ElementsAre(2, 3, 5));
  EXPECT_THAT(entry.stride, ElementsAre(15, 5, 1));
  std::vector<float> values(latent.size());
  read.read_floats(entry, 0, values);
  EXPECT_EQ(values, latent);
  const TensorEntry& bytes = read.entry("frames");
  EXPECT_EQ(bytes.dtype, DType::u8);
  const std::string file = test::read_bytes(dir / "a.safetensors");
  EXPECT_EQ(file.substr(bytes.begin_byte), std::string(frames.begin(), frames.end()));
}

TEST(Safetensors, WriterRefusesWhatWouldNotBeReadBack) {
  const wan::test::TempDir dir;
  const std::vector<float> values(6);
  const auto bytes = std::as_bytes(std::span(values));
  const TensorView good{"a", DType::f32, {2, 3}, bytes};
  EXPECT_THROW(write_safetensors(dir / "x", std::vector<TensorView>{good, good}), Error);
  EXPECT_THROW(write_safetensors(dir / "x", std::vector<TensorView>{{"a", DType::f32, {2, 4}, bytes}}),
               Error);
  EXPECT_THROW(write_safetensors(dir / "x", std::vector<TensorView>{{"a", DType::f32, {-2, -3}, bytes}}),
               Error);
  EXPECT_THROW(
      write_safetensors(dir / "x", std::vector<TensorView>{{"__metadata__", DType::f32, {6}, bytes}}), Error);
  EXPECT_THROW(write_safetensors(dir / "none" / "x", std::vector<TensorView>{good}), Error);
  EXPECT_THROW(write_safetensors("/dev/full", std::vector<TensorView>{good}), Error);
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  const wan::test::TempDir dir;
  const auto names_of = [&](const std::string& bytes) {
    test::write_bytes(dir / "f", bytes);
    return Checkpoint::open_safetensors_file(dir / "f").names();
  };
  EXPECT_TRUE(names_of(test::safetensors("{}", 0)).empty());
  EXPECT_TRUE(names_of(test::safetensors(R"({"__metadata__":{"format":"pt","a":"b"}})", 0)).empty());
  EXPECT_THAT(names_of(test::safetensors(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}    )", 4)),
              ElementsAre("a"));
  EXPECT_THAT(names_of(test::safetensors(R"({"a":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
                                         R"("b":{"data_offsets":[0,3],"shape":[3],"dtype":"BOOL"}})",
                                         3)),
              ElementsAre("a", "b"));
  EXPECT_THAT(
      names_of(test::safetensors(
          R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"a":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}})",
          6)),
      ElementsAre("a", "b"));
}

}  // namespace
}  // namespace wan::checkpoint
