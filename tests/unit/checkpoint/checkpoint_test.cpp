#include "checkpoint/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <sstream>

#include "checkpoint/safetensors.h"
#include "checkpoint_files.h"
#include "core/checksum.h"
#include "support/temp_dir.h"

namespace wan::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<float> all_floats(const Checkpoint& checkpoint, const TensorEntry& entry) {
  std::vector<float> values(static_cast<std::size_t>(entry.elements()));
  checkpoint.read_floats(entry, 0, values);
  return values;
}

/// "name shape dtype digest", as make_fixtures.py writes it.
std::string line_of(const Checkpoint& checkpoint, const TensorEntry& entry) {
  const std::vector<float> values = all_floats(checkpoint, entry);
  const std::string_view bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  const std::string shape = entry.shape.empty() ? "-" : fmt::format("{}", fmt::join(entry.shape, "x"));
  const std::map<DType, std::string> names{
      {DType::f64, "float64"}, {DType::f32, "float32"}, {DType::f16, "float16"}, {DType::bf16, "bfloat16"}};
  return fmt::format("{} {} {} {}", entry.name, shape, names.at(entry.dtype),
                     sha256_hex(bytes).substr(0, 16));
}

std::map<std::string, std::vector<std::string>> reference_lines() {
  std::map<std::string, std::vector<std::string>> lines;
  std::ifstream file(test::test_data("checkpoint/parity_tensors.txt"));
  std::string current;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("file ")) {
      current = line.substr(5);
    } else {
      lines[current].push_back(line);
    }
  }
  return lines;
}

TEST(Checkpoint, EveryTensorOfTheParityCheckpointsIsAsTorchReadsIt) {
  std::size_t tensors = 0;
  const auto files = reference_lines();
  EXPECT_EQ(files.size(), 18U);
  for (const auto& [file, lines] : files) {
    SCOPED_TRACE(file);
    const std::string path = test::test_data("parity/" + file);
    const Checkpoint checkpoint = file.ends_with(".pth") ? Checkpoint::open_torch_archive(path)
                                                         : Checkpoint::open_safetensors_file(path);
    ASSERT_EQ(checkpoint.entries().size(), lines.size());
    for (const std::string& line : lines) {
      EXPECT_EQ(line_of(checkpoint, checkpoint.entry(line.substr(0, line.find(' ')))), line);
      ++tensors;
    }
  }
  EXPECT_EQ(tensors, 1092U);
}

TEST(Checkpoint, ViewsOfATorchArchiveAreAsTorchReadsThem) {
  const Checkpoint checkpoint = Checkpoint::open_torch_archive(test::test_data("checkpoint/views.pth"));
  std::istringstream reference(test::read_bytes(test::test_data("checkpoint/views.txt")));
  std::size_t lines = 0;
  for (std::string line; std::getline(reference, line); ++lines) {
    EXPECT_EQ(line_of(checkpoint, checkpoint.entry(line.substr(0, line.find(' ')))), line);
  }
  EXPECT_EQ(lines, checkpoint.entries().size());
  EXPECT_FALSE(is_contiguous(checkpoint.entry("permuted")));
  EXPECT_EQ(checkpoint.entry("shared_row").begin_byte,
            checkpoint.entry("plain").begin_byte + std::size_t{2} * 8 * sizeof(float));
}

TEST(Checkpoint, ReadsAModulesStateDictAndParameters) {
  const Checkpoint checkpoint = Checkpoint::open_torch_archive(test::test_data("checkpoint/module.pth"));
  EXPECT_THAT(checkpoint.names(), ElementsAre("0.bias", "0.weight", "1.bias", "1.weight", "parameter"));
  EXPECT_THAT(all_floats(checkpoint, checkpoint.entry("parameter")), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(all_floats(checkpoint, checkpoint.entry("1.weight")), ElementsAre(1, 1));
}

TEST(Checkpoint, EveryRangeOfEveryViewIsPartOfTheWhole) {
  const Checkpoint checkpoint = Checkpoint::open_torch_archive(test::test_data("checkpoint/views.pth"));
  for (const auto& [name, entry] : checkpoint.entries()) {
    SCOPED_TRACE(name);
    const std::vector<float> whole = all_floats(checkpoint, entry);
    for (std::size_t first = 0; first <= whole.size(); ++first) {
      for (std::size_t count = 0; first + count <= whole.size(); ++count) {
        std::vector<float> part(count);
        checkpoint.read_floats(entry, static_cast<std::int64_t>(first), part);
        ASSERT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(first)))
            << first << " + " << count;
        std::vector<std::uint16_t> rounded(count);
        checkpoint.read_bf16(entry, static_cast<std::int64_t>(first), rounded);
        for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(rounded[i], bf16_from_float(part[i]));
        std::vector<std::byte> stored(count * size_bytes(entry.dtype));
        if (!is_stored_plainly(entry)) {
          ASSERT_THROW(checkpoint.read_stored(entry, static_cast<std::int64_t>(first), stored), Error);
          continue;
        }
        checkpoint.read_stored(entry, static_cast<std::int64_t>(first), stored);
        std::vector<float> widened(count);
        convert_to_float(entry.dtype, stored, widened);
        ASSERT_EQ(widened, part);
      }
    }
  }
}

TEST(Checkpoint, AContiguousRangeCostsExactlyItsBytes) {
  const std::string folder = test::test_data("parity/i2v_portrait_ragged/ckpt/high_noise_model");  // bf16
  const Checkpoint checkpoint = Checkpoint::open_safetensors_folder(folder);
  EXPECT_EQ(checkpoint.bytes_read(), 0U);
  const TensorEntry& entry = checkpoint.entry("blocks.1.ffn.0.weight");
  std::vector<float> floats(1000);
  checkpoint.read_floats(entry, 500, floats);
  EXPECT_EQ(checkpoint.bytes_read(), 2000U);
  std::vector<std::uint16_t> bits(1000);
  checkpoint.read_bf16(entry, 500, bits);
  EXPECT_EQ(checkpoint.bytes_read(), 4000U);
  for (std::size_t i = 0; i < bits.size(); ++i) ASSERT_EQ(float_from_bf16(bits[i]), floats[i]);
  checkpoint.read_floats(entry, entry.elements(), {});
  EXPECT_EQ(checkpoint.bytes_read(), 4000U);
}

TEST(Checkpoint, RangesOutsideATensorAreRefused) {
  const Checkpoint checkpoint = Checkpoint::open_torch_archive(test::test_data("checkpoint/views.pth"));
  const TensorEntry& entry = checkpoint.entry("plain");
  std::vector<float> out(2);
  EXPECT_THROW(checkpoint.read_floats(entry, 47, out), Error);
  EXPECT_THROW(checkpoint.read_floats(entry, -1, out), Error);
  EXPECT_THROW(checkpoint.read_floats(entry, INT64_MAX, out), Error);
  const std::string message = test::usage_error_of([&] { checkpoint.entry("nothing"); });
  EXPECT_THAT(message, AllOf(HasSubstr("'nothing'"), HasSubstr("views.pth")));
}

TEST(Checkpoint, LargeTensorsAreConvertedInPieces) {
  const wan::test::TempDir dir;
  std::vector<std::uint16_t> halves(5'000'000);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i % 0x7C00);
  write_safetensors(
      dir / "f", std::vector<TensorView>{{"w", DType::f16, {5'000'000}, std::as_bytes(std::span(halves))}});
  const Checkpoint checkpoint = Checkpoint::open_safetensors_file(dir / "f");
  const std::vector<float> values = all_floats(checkpoint, checkpoint.entry("w"));
  for (std::size_t i = 0; i < halves.size(); ++i) ASSERT_EQ(values[i], float_from_f16(halves[i])) << i;
}

TEST(Checkpoint, IntegersAreNotReadAsFloats) {
  const wan::test::TempDir dir;
  const std::vector<std::byte> bytes(8);
  write_safetensors(dir / "f", std::vector<TensorView>{{"w", DType::i64, {1}, bytes}});
  const Checkpoint checkpoint = Checkpoint::open_safetensors_file(dir / "f");
  std::vector<float> out(1);
  EXPECT_THAT(test::usage_error_of([&] { checkpoint.read_floats(checkpoint.entry("w"), 0, out); }),
              HasSubstr("I64"));
}

TEST(Checkpoint, AFileThatShrinksWhileOpenIsAnErrorThatNamesFileAndTensor) {
  const wan::test::TempDir dir;
  const std::vector<float> values(1000);
  write_safetensors(dir / "f",
                    std::vector<TensorView>{{"w", DType::f32, {1000}, std::as_bytes(std::span(values))}});
  const Checkpoint checkpoint = Checkpoint::open_safetensors_file(dir / "f");
  std::filesystem::resize_file(dir / "f", 100);
  std::vector<float> out(1000);
  try {
    checkpoint.read_floats(checkpoint.entry("w"), 0, out);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/f ends early"));
    EXPECT_THAT(error.what(), HasSubstr("in tensor 'w'"));
  }
}

/// A folder with two shards, "a" and "b", of one tensor each.
class ShardedFolder : public ::testing::Test {
 protected:
  static constexpr const char* index_name = "diffusion_pytorch_model.safetensors.index.json";

  void SetUp() override {
    write_shard("one.safetensors", "a");
    write_shard("two.safetensors", "b");
    write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  }
  void write_shard(const std::string& file, const std::string& tensor) const {
    const std::vector<float> values{1, 2};
    write_safetensors(dir_ / file,
                      std::vector<TensorView>{{tensor, DType::f32, {2}, std::as_bytes(std::span(values))}});
  }
  void write_index(const std::string& weight_map) const {
    test::write_bytes(dir_ / index_name, R"({"metadata":{"total_size":16},"weight_map":)" + weight_map + "}");
  }
  std::string error() const {
    return test::usage_error_of([&] { Checkpoint::open_safetensors_folder(dir_.path()); });
  }
  wan::test::TempDir dir_;
};

TEST_F(ShardedFolder, IsOneCheckpoint) {
  const Checkpoint checkpoint = Checkpoint::open_safetensors_folder(dir_.path());
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b"));
  EXPECT_THAT(all_floats(checkpoint, checkpoint.entry("b")), ElementsAre(1, 2));
  EXPECT_EQ(checkpoint.source(), dir_.path());
}

TEST_F(ShardedFolder, MissingShardIsNamed) {
  std::filesystem::remove(dir_ / "two.safetensors");
  EXPECT_THAT(error(), HasSubstr("two.safetensors"));
}

TEST_F(ShardedFolder, TruncatedShardIsNamed) {
  std::filesystem::resize_file(dir_ / "two.safetensors",
                               std::filesystem::file_size(dir_ / "two.safetensors") - 1);
  EXPECT_THAT(error(), AllOf(HasSubstr("two.safetensors"), HasSubstr("cut off")));
}

TEST_F(ShardedFolder, TensorMissingInItsShardIsNamed) {
  write_index(R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"})");
  EXPECT_THAT(error(), AllOf(HasSubstr("two.safetensors"), HasSubstr("'c'")));
}

TEST_F(ShardedFolder, TensorUnknownToTheIndexIsNamed) {
  write_shard("two.safetensors", "z");
  EXPECT_THAT(error(), AllOf(HasSubstr("two.safetensors"), HasSubstr("'z'")));
}

TEST_F(ShardedFolder, ShardMustBeAPlainFileName) {
  for (const std::string name : {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..", ".", "",
                                 "a\\\\b", "one.safetensors\\u0000"}) {
    SCOPED_TRACE(name);
    write_index(R"({"a":")" + name + R"(","b":"two.safetensors"})");
    EXPECT_THAT(error(), HasSubstr("expected the plain name"));
  }
  write_index(R"({"a":1})");
  EXPECT_THAT(error(), HasSubstr("expected the plain name"));
}

TEST_F(ShardedFolder, ShardMustBeARegularFile) {
  std::filesystem::remove(dir_ / "two.safetensors");
  std::filesystem::create_directory(dir_ / "two.safetensors");
  EXPECT_THAT(error(), HasSubstr("not a regular file"));
}

TEST_F(ShardedFolder, MalformedIndexIsRefused) {
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "is empty (0 bytes)"},
           {"{", "not valid JSON"},
           {"[]", "expected a JSON object"},
           {"{}", "no weight_map"},
           {R"({"weight_map":[]})", "no weight_map"},
           {R"({"weight_map":{}})", "no weight_map"},
           {R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})", "'a' occurs twice"},
           {R"({"x":)" + std::string(100'000, '['), "nested more than"},
           {std::string(1000, '\xff'), "not valid JSON"}}) {
    SCOPED_TRACE(text.substr(0, 60));
    test::write_bytes(dir_ / index_name, text);
    EXPECT_THAT(error(), HasSubstr(message));
  }
}

TEST_F(ShardedFolder, EmptyFolderSaysWhatIsExpected) {
  const wan::test::TempDir empty;
  EXPECT_THAT(test::usage_error_of([&] { Checkpoint::open_safetensors_folder(empty.path()); }),
              HasSubstr("has neither diffusion_pytorch_model.safetensors.index.json nor"));
}

TEST_F(ShardedFolder, ExpectedTensorsAreComparedAllAtOnce) {
  const Checkpoint checkpoint = Checkpoint::open_safetensors_folder(dir_.path());
  EXPECT_NO_THROW(expect_tensors(checkpoint, std::vector<ExpectedTensor>{{"a", {2}}, {"b", {2}}}));
  std::vector<ExpectedTensor> expected{{"a", {2, 1}}};
  for (int i = 0; i < 8; ++i) expected.push_back({fmt::format("c{}", i), {3}});
  const std::string message = test::usage_error_of([&] { expect_tensors(checkpoint, expected); });
  EXPECT_THAT(message,
              AllOf(HasSubstr("8 missing: 'c0' [3]; 'c1' [3]"), HasSubstr("'c4'"), Not(HasSubstr("'c5'"))));
  EXPECT_THAT(message, HasSubstr("'a' is [2] of F32 in one.safetensors, expected [2, 1]"));
  EXPECT_THAT(message, HasSubstr("1 not expected: 'b' [2] in two.safetensors"));
}

}  // namespace
}  // namespace wan::checkpoint
