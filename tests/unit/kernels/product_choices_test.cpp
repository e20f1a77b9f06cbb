#include "kernels/product_choices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/file.h"
#include "core/parse_value.h"
#include "support/temp_dir.h"

namespace wan::kernels {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const ProductMachine machine{.gpu = "Some GPU 80 GB", .multiprocessors = 7, .cublas_lt = 130100};
const ProductShape up{.type = c10::ScalarType::BFloat16, .out = 13824, .in = 5120, .end = ProductEnd::gelu};
const ProductShape down{.type = c10::ScalarType::Half, .out = 5120, .in = 13824, .end = ProductEnd::bias};
const ProductChoices three{
    {up, {{4095, "cublaslt:66.421.35.1.0.0.5.0.3"}, {32760, "cublaslt:66.501.35.1.0.0.7.0.5"}}},
    {down, {{8190, "hopper:128x256"}}}};

std::string refusal_of(const std::string& text) {
  try {
    parse_product_choices(text, machine);
  } catch (const ValueError& error) {
    return error.what();
  }
  return "accepted";
}

class ProductChoicesFile : public testing::Test {
 protected:
  void write(const std::string& text) const {
    std::filesystem::create_directories(file_.parent_path());
    std::ofstream(file_) << text;
  }
  FoundChoices found() const { return find_product_choices(machine, environment_); }

  test::TempDir scratch_;
  Environment environment_{{"WAN_PRODUCT_CACHE", (scratch_.path() / "cache").string()}};
  std::filesystem::path file_ = product_choices_file(machine, environment_);
};

TEST(ProductChoicesText, ComesBackAsItWas) {
  EXPECT_EQ(parse_product_choices(format_product_choices(machine, three), machine), three);
  EXPECT_EQ(parse_product_choices(format_product_choices(machine, {}), machine), ProductChoices{});
}

TEST(ProductChoicesText, RefusesWhatItIsNotMadeFor) {
  const std::string text = format_product_choices(machine, three);
  ProductMachine other = machine;
  other.cublas_lt = 130101;
  EXPECT_THROW(parse_product_choices(text, other), ValueError);
  other = machine;
  other.multiprocessors = 6;
  EXPECT_THROW(parse_product_choices(text, other), ValueError);
  other = machine;
  other.gpu = "Some GPU";
  EXPECT_THROW(parse_product_choices(text, other), ValueError);
}

TEST(ProductChoicesText, RefusesBrokenTextsAndNamesTheLine) {
  const std::string head = format_product_choices(machine, {});
  EXPECT_THAT(refusal_of(""), HasSubstr("line 1"));
  EXPECT_THAT(refusal_of(std::string(4096, '\0')), HasSubstr("line 1"));
  EXPECT_THAT(refusal_of(head + "bf16 8 8 bias 9 a"), HasSubstr("line 5: cut off"));
  EXPECT_THAT(refusal_of(head + "bf16 8 8 bias 9 a\n\n"), HasSubstr("line 6"));
  for (const char* const line :
       {"bf16 8 8 bias 9", "bf16 8 8 bias 9 a b", "int4 8 8 bias 9 a", "bf16 -8 8 bias 9 a",
        "bf16 8 99999999999999999999 bias 9 a", "bf16 8 8 relu 9 a", "bf16 8 8 bias 9 A/B",
        "bf16 8 8 bias 9 ", "bf16 8 8 bias 9 \x1b[2J", "bf16  8 8 bias 9 a", "bf16 8 8 bias 0 a",
        "bf16 8 8 bias many a", "bf16 8 8 bias a"}) {
    EXPECT_THAT(refusal_of(head + line + "\n"), HasSubstr("line 5")) << line;
  }
  EXPECT_THAT(refusal_of(head + "bf16 8 8 bias 9 " + std::string(100, 'a') + "\n"), HasSubstr("line 5"));
  EXPECT_EQ(refusal_of(head + "bf16 8 8 bias 9 a\n"), "accepted");
}

TEST(ProductChoicesPlace, FollowsTheEnvironment) {
  const auto file = [](const Environment& environment) {
    return product_choices_file(machine, environment).string();
  };
  const std::string name = "Some_GPU_80_GB-7-130100.txt";
  EXPECT_EQ(file({{"WAN_PRODUCT_CACHE", "/a"}, {"XDG_CACHE_HOME", "/b"}, {"HOME", "/c"}}), "/a/" + name);
  EXPECT_EQ(file({{"XDG_CACHE_HOME", "/b"}, {"HOME", "/c"}}), "/b/wan_batch/products/" + name);
  EXPECT_EQ(file({{"XDG_CACHE_HOME", "relative"}, {"HOME", "/c"}}), "/c/.cache/wan_batch/products/" + name);
  EXPECT_EQ(file({}), "");
}

TEST(ProductChoicesPlace, KeepsANameInsideTheFolder) {
  ProductMachine odd = machine;
  odd.gpu = "../../etc/\x01" + std::string(500, 'x');
  const std::filesystem::path file = product_choices_file(odd, {{"WAN_PRODUCT_CACHE", "/a"}});
  EXPECT_EQ(file.parent_path(), "/a");
  EXPECT_LT(file.filename().string().size(), 100U);
}

TEST_F(ProductChoicesFile, IsNotNeeded) {
  EXPECT_EQ(found().choices, shipped_product_choices(machine));
  EXPECT_THAT(found().problem, IsEmpty());
  EXPECT_TRUE(found().file.empty());
  EXPECT_THAT(find_product_choices(machine, {}).problem, IsEmpty());
}

TEST_F(ProductChoicesFile, IsReadBackAndAddedTo) {
  keep_product_choices(file_, machine, {{up, {{7, "first"}}}, {down, {{7, "old"}, {8, "old"}}}});
  keep_product_choices(file_, machine, {{down, {{9, "new"}}}});
  const ProductChoices expected{{up, {{7, "first"}}}, {down, {{9, "new"}}}};
  EXPECT_EQ(found().choices, expected);
  EXPECT_EQ(found().file, file_);
  EXPECT_THAT(found().problem, IsEmpty());
}

TEST_F(ProductChoicesFile, ThatIsBrokenChangesNothingButTheProblem) {
  const std::string whole = format_product_choices(machine, three);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const bool ends_a_line =
        size > 0 && whole[size - 1] == '\n' && size >= format_product_choices(machine, {}).size();
    write(whole.substr(0, size));
    EXPECT_EQ(found().problem.empty(), ends_a_line) << size;
    if (ends_a_line) continue;
    EXPECT_EQ(found().choices, shipped_product_choices(machine)) << size;
    EXPECT_THAT(found().problem, HasSubstr(file_.string())) << size;
  }
}

TEST_F(ProductChoicesFile, ThatIsAPipeAFolderOrTooLargeIsAProblemAndNoMore) {
  std::filesystem::create_directories(file_.parent_path());
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  EXPECT_THAT(found().problem, HasSubstr(file_.string()));
  EXPECT_THROW(keep_product_choices(file_, machine, three), Error);
  std::filesystem::remove(file_);
  std::filesystem::create_directory(file_);
  EXPECT_THAT(found().problem, HasSubstr(file_.string()));
  EXPECT_THROW(keep_product_choices(file_, machine, three), Error);
  std::filesystem::remove(file_);
  write(std::string(1 << 20, 'x'));
  EXPECT_THAT(found().problem, HasSubstr(file_.string()));
}

TEST_F(ProductChoicesFile, ThatIsBrokenIsReplaced) {
  write("nonsense");
  keep_product_choices(file_, machine, three);
  EXPECT_EQ(found().choices, three);
  const auto entries = std::filesystem::directory_iterator(file_.parent_path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1) << "a temporary file is left";
}

TEST_F(ProductChoicesFile, InAFolderThatCannotBeMadeIsAnErrorWithThePath) {
  std::ofstream(scratch_.path() / "cache") << "a file is in the way";
  try {
    keep_product_choices(file_, machine, three);
    FAIL() << "written";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr((scratch_.path() / "cache").string()));
  }
  EXPECT_THAT(found().problem, IsEmpty());
}

TEST(ProductShapeText, SaysAll) {
  EXPECT_EQ(describe(up), "bf16 [13824, 5120] gelu");
  EXPECT_EQ(describe(down), "fp16 [5120, 13824] bias");
}

TEST(ShippedChoices, AreReadAsAFileWouldBeAndGiveWayToIt) {
  const ProductMachine h200{.gpu = "NVIDIA H200", .multiprocessors = 132, .cublas_lt = 130100};
  const ProductChoices shipped = shipped_product_choices(h200);
  EXPECT_EQ(shipped.count(up), 1U);
  EXPECT_EQ(parse_product_choices(format_product_choices(h200, shipped), h200), shipped);
  EXPECT_THAT(shipped_product_choices(machine), IsEmpty());
  const test::TempDir folder;
  const Environment environment{{"WAN_PRODUCT_CACHE", folder.path().string()}};
  keep_product_choices(product_choices_file(h200, environment), h200, {{up, {{1, "mine"}}}});
  const FoundChoices found = find_product_choices(h200, environment);
  EXPECT_EQ(found.choices.at(up), (RowChoices{{1, "mine"}}));
  EXPECT_EQ(found.choices.size(), shipped.size());
}

TEST(ChoiceForRows, IsTheNearestByRatio) {
  const RowChoices choices{{4000, "few"}, {9000, "some"}, {32000, "many"}};
  const auto choice = [&](std::int64_t rows) { return *choice_for(choices, rows); };
  EXPECT_EQ(choice(1), "few");
  EXPECT_EQ(choice(4000), "few");
  EXPECT_EQ(choice(5999), "few");  // 6,000 is 1.5 times 4,000, and 9,000 is 1.5 times 6,000
  EXPECT_EQ(choice(6001), "some");
  EXPECT_EQ(choice(9000), "some");
  EXPECT_EQ(choice(9001), "some");
  EXPECT_EQ(choice(32000), "many");
  EXPECT_EQ(choice(1 << 24), "many");
  EXPECT_EQ(choice_for({}, 1), nullptr);
}

TEST(BestKernels, HaveTheLeastSumOfTimesOverTheBest) {
  // The second is best for many rows, the third for few, each by less than 2 %. The third loses least.
  const std::vector<KernelTimes> kernels{{"a", {1.10, 0.110}}, {"b", {1.00, 0.1035}}, {"c", {1.01, 0.102}}};
  EXPECT_EQ(best_kernels(kernels), (std::vector<std::size_t>{2, 2}));
  EXPECT_EQ(best_kernels({{"a", {1.10}}}), (std::vector<std::size_t>{0}));
}

TEST(BestKernels, AreOthersForRowsWhereTheyAreMuchFaster) {
  const std::vector<KernelTimes> kernels{
      {"a", {1.10, 0.110, 9}}, {"b", {1.00, 0.120, 9}}, {"c", {1.01, 0.100, 9}}};
  EXPECT_EQ(best_kernels(kernels), (std::vector<std::size_t>{2, 2, 2}));
  EXPECT_EQ(best_kernels({{"a", {1.00, 1.03, 1.02}}, {"b", {1.03, 1.00, 1.01}}}),
            (std::vector<std::size_t>{0, 1, 0}));
}

TEST(BestKernels, AreTheFirstWhereTheOthersAreNoFasterThanTheNoise) {
  EXPECT_EQ(best_kernels({{"a", {1.000, 2.000}}, {"b", {0.998, 1.996}}}), (std::vector<std::size_t>{0, 0}));
  EXPECT_EQ(best_kernels({{"a", {1.000, 2.000}}, {"b", {0.990, 1.980}}}), (std::vector<std::size_t>{1, 1}));
}

}  // namespace
}  // namespace wan::kernels
