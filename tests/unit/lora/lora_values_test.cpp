// Values of LoRAs as they are read for GPUs, what threads share of them, and the checksums of files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <thread>

#include "core/checksum.h"
#include "lora/lora_file.h"
#include "lora/lora_set.h"
#include "lora/recent_factors.h"
#include "support/message_of.h"
#include "support/temp_dir.h"
#include "unit/lora/lora_files.h"

namespace wan::lora {
namespace {

using checkpoint::DType;
using ::testing::HasSubstr;

class LoraValues : public testing::Test {
 protected:
  std::filesystem::path write(DType type, float one = 0) {
    test::NumbersByName tensors;
    std::mt19937 random(3);
    tensors["blocks.1.ffn.0.lora_down.weight"] = test::draw({5, 24}, random);
    tensors["blocks.1.ffn.0.lora_up.weight"] = test::draw({40, 5}, random);
    if (one != 0) tensors["blocks.1.ffn.0.lora_up.weight"].values[7] = one;
    test::write_numbers(dir_ / "lora.safetensors", tensors, type);
    return dir_ / "lora.safetensors";
  }

  wan::test::TempDir dir_;
};

TEST_F(LoraValues, AreThoseOfTheFileInEachType) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    const LoraFile file(write(type), test::small_config());
    const LoraChange& change = file.changes(Expert::single, LoraExperts::both).at("blocks.1.ffn.0.weight");
    ASSERT_TRUE(checkpoint::is_stored_plainly(*change.up));
    std::vector<float> values(11);
    file.read(*change.up, 6, values);
    std::vector<std::byte> stored(values.size() * checkpoint::size_bytes(type));
    file.read_stored(*change.up, 6, stored);
    std::vector<float> widened(values.size());
    checkpoint::convert_to_float(type, stored, widened);
    EXPECT_EQ(widened, values) << to_string(type);
    std::mt19937 random(3);
    test::draw({5, 24}, random);
    const std::vector<float> written = test::draw({40, 5}, random).values;
    EXPECT_TRUE(std::equal(values.begin(), values.end(), written.begin() + 6)) << to_string(type);
  }
}

TEST_F(LoraValues, ThatAreNotFiniteAreFoundInEachType) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
      const LoraFile file(write(type, bad), test::small_config());
      const LoraChange& change = file.changes(Expert::single, LoraExperts::both).at("blocks.1.ffn.0.weight");
      std::vector<std::byte> stored(10 * checkpoint::size_bytes(type));
      EXPECT_THAT(wan::test::message_of<UsageError>([&] { file.read_stored(*change.up, 0, stored); }),
                  HasSubstr("tensor 'blocks.1.ffn.0.lora_up.weight' holds the value"))
          << to_string(type) << bad;
      EXPECT_NO_THROW(file.read_stored(*change.up, 8, stored));
    }
  }
}

TEST_F(LoraValues, AnAlphaMayBeAWholeNumber) {
  test::NumbersByName tensors;
  std::mt19937 random(3);
  tensors["blocks.1.ffn.0.lora_down.weight"] = test::draw({5, 24}, random);
  tensors["blocks.1.ffn.0.lora_up.weight"] = test::draw({40, 5}, random);
  for (const DType type : {DType::f32, DType::bf16, DType::i64, DType::i32}) {
    tensors["blocks.1.ffn.0.alpha"] = {.shape = {}, .values = {16}, .type = type};
    test::write_numbers(dir_ / "a.safetensors", tensors);
    const LoraFile file(dir_ / "a.safetensors", test::small_config());
    const LoraChange& change = file.changes(Expert::single, LoraExperts::both).at("blocks.1.ffn.0.weight");
    EXPECT_EQ(change.scale, 16.0 / 5) << to_string(type);
  }
  tensors["blocks.1.ffn.0.alpha"].type = DType::u8;
  test::write_numbers(dir_ / "a.safetensors", tensors);
  EXPECT_THAT(
      wan::test::message_of<UsageError>([&] { LoraFile(dir_ / "a.safetensors", test::small_config()); }),
      HasSubstr("tensor 'blocks.1.ffn.0.alpha' is of type U8; floating-point numbers are expected"));
}

TEST(RecentFactors, AreMadeOnceForAllThreads) {
  const checkpoint::TensorEntry first;
  const checkpoint::TensorEntry second;
  RecentFactors<int> factors(1);
  std::atomic<int> made = 0;
  const auto make = [&] { return ++made; };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_EQ(factors.get(first, make), 1); });
  }
  EXPECT_EQ(factors.get(second, make), 2);  // takes the only place
  EXPECT_EQ(factors.get(second, make), 2);
  EXPECT_EQ(factors.get(first, make), 3);
  EXPECT_THROW(factors.get(second, []() -> int { throw Error("no"); }), Error);
  EXPECT_EQ(factors.get(second, make), 4);
}

TEST_F(LoraValues, EachFileHasItsChecksum) {
  std::vector<LoraSet> sets(3);
  for (int i = 0; i < 9; ++i) {
    const std::filesystem::path file = dir_ / std::to_string(i);
    std::ofstream(file) << "LoRA " << i;
    sets[static_cast<std::size_t>(i % 3)].push_back({.file = file});
  }
  sets[0].push_back(sets[1].front());
  take_checksums(sets);
  EXPECT_EQ(sets[2].back().sha256, sha256_hex("LoRA 8"));
  EXPECT_EQ(sets[0].back().sha256, sha256_hex("LoRA 1"));
  for (const LoraSet& set : sets)
    for (const Lora& lora : set) EXPECT_EQ(lora.sha256, sha256_file_hex(lora.file));
  sets[1].front().file = dir_ / "gone";
  EXPECT_THAT(wan::test::message_of<UsageError>([&] { take_checksums(sets); }),
              HasSubstr("cannot use the LoRA"));
}

}  // namespace
}  // namespace wan::lora
