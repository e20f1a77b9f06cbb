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
const ProductChoices two{{up, "cublaslt:66.421.35.1.0.0.5.0.3"}, {down, "hopper:128x256"}};

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
  EXPECT_EQ(parse_product_choices(format_product_choices(machine, two), machine), two);
  EXPECT_EQ(parse_product_choices(format_product_choices(machine, {}), machine), ProductChoices{});
}

TEST(ProductChoicesText, RefusesWhatItIsNotMadeFor) {
  const std::string text = format_product_choices(machine, two);
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
  EXPECT_THAT(refusal_of(head + "bf16 8 8 bias a"), HasSubstr("line 5: cut off"));
  EXPECT_THAT(refusal_of(head + "bf16 8 8 bias a\n\n"), HasSubstr("line 6"));
  for (const char* const line : {"bf16 8 8 bias", "bf16 8 8 bias a b", "int4 8 8 bias a", "bf16 -8 8 bias a",
                                 "bf16 8 99999999999999999999 bias a", "bf16 8 8 relu a", "bf16 8 8 bias A/B",
                                 "bf16 8 8 bias ", "bf16 8 8 bias \x1b[2J", "bf16  8 8 bias a"}) {
    EXPECT_THAT(refusal_of(head + line + "\n"), HasSubstr("line 5")) << line;
  }
  EXPECT_THAT(refusal_of(head + "bf16 8 8 bias " + std::string(100, 'a') + "\n"), HasSubstr("line 5"));
  EXPECT_EQ(refusal_of(head + "bf16 8 8 bias a\n"), "accepted");
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
  keep_product_choices(file_, machine, {{up, "first"}, {down, "old"}});
  keep_product_choices(file_, machine, {{down, "new"}});
  const ProductChoices expected{{up, "first"}, {down, "new"}};
  EXPECT_EQ(found().choices, expected);
  EXPECT_EQ(found().file, file_);
  EXPECT_THAT(found().problem, IsEmpty());
}

TEST_F(ProductChoicesFile, ThatIsBrokenChangesNothingButTheProblem) {
  const std::string whole = format_product_choices(machine, two);
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
  EXPECT_THROW(keep_product_choices(file_, machine, two), Error);
  std::filesystem::remove(file_);
  std::filesystem::create_directory(file_);
  EXPECT_THAT(found().problem, HasSubstr(file_.string()));
  EXPECT_THROW(keep_product_choices(file_, machine, two), Error);
  std::filesystem::remove(file_);
  write(std::string(1 << 20, 'x'));
  EXPECT_THAT(found().problem, HasSubstr(file_.string()));
}

TEST_F(ProductChoicesFile, ThatIsBrokenIsReplaced) {
  write("nonsense");
  keep_product_choices(file_, machine, two);
  EXPECT_EQ(found().choices, two);
  const auto entries = std::filesystem::directory_iterator(file_.parent_path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1) << "a temporary file is left";
}

TEST_F(ProductChoicesFile, InAFolderThatCannotBeMadeIsAnErrorWithThePath) {
  std::ofstream(scratch_.path() / "cache") << "a file is in the way";
  try {
    keep_product_choices(file_, machine, two);
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
  keep_product_choices(product_choices_file(h200, environment), h200, {{up, "mine"}});
  const FoundChoices found = find_product_choices(h200, environment);
  EXPECT_EQ(found.choices.at(up), "mine");
  EXPECT_EQ(found.choices.size(), shipped.size());
}

TEST(BestKernel, HasTheLeastSumOfTimesOverTheBest) {
  // The second is best for many rows, the third for few; the third loses least.
  EXPECT_EQ(best_kernel({{"a", {1.10, 0.110}}, {"b", {1.00, 0.120}}, {"c", {1.02, 0.100}}}), 2U);
  EXPECT_EQ(best_kernel({{"a", {1.10}}}), 0U);
}

TEST(BestKernel, StaysTheFirstWhereTheOthersAreNoFasterThanTheNoise) {
  EXPECT_EQ(best_kernel({{"a", {1.000, 2.000}}, {"b", {0.998, 1.996}}}), 0U);
  EXPECT_EQ(best_kernel({{"a", {1.000, 2.000}}, {"b", {0.990, 1.980}}}), 1U);
}

}  // namespace
}  // namespace wan::kernels
