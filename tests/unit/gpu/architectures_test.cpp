#include "gpu/architectures.h"

#include <gtest/gtest.h>

namespace wan::gpu {
namespace {

constexpr std::string_view built = "80-real,86-real,89-real,90a-real";  // the default of cmake/Cuda.cmake

TEST(Architectures, MachineCodeRunsOnItsGenerationFromItsVersionOn) {
  EXPECT_TRUE(has_code_for(built, 8, 0));   // A100
  EXPECT_TRUE(has_code_for(built, 8, 6));   // A40
  EXPECT_TRUE(has_code_for(built, 8, 7));   // Orin, by the code for 8.6
  EXPECT_TRUE(has_code_for(built, 8, 9));   // RTX 4090
  EXPECT_TRUE(has_code_for(built, 9, 0));   // H100
  EXPECT_FALSE(has_code_for(built, 7, 5));  // T4
  EXPECT_FALSE(has_code_for("86-real", 8, 0));
}

TEST(Architectures, NewerGenerationsHaveNoCodeWithoutPtx) {
  EXPECT_FALSE(has_code_for(built, 10, 0));  // B200
  EXPECT_FALSE(has_code_for(built, 10, 3));
  EXPECT_FALSE(has_code_for(built, 11, 0));
  EXPECT_FALSE(has_code_for(built, 12, 0));  // RTX 5090
}

TEST(Architectures, PtxIsCompiledForLaterGpus) {
  EXPECT_TRUE(has_code_for("80-real,90-virtual", 12, 0));
  EXPECT_TRUE(has_code_for("90", 10, 0));  // a number alone: machine code and PTX
  EXPECT_TRUE(has_code_for("80-real,90-virtual", 8, 9));
  EXPECT_FALSE(has_code_for("90-virtual", 8, 9));
}

TEST(Architectures, LettersBindToAnArchitectureOrAFamily) {
  EXPECT_TRUE(has_code_for("90a-virtual", 9, 0));
  EXPECT_FALSE(has_code_for("90a-virtual", 10, 0));
  EXPECT_TRUE(has_code_for("100f-real", 10, 3));
  EXPECT_FALSE(has_code_for("100f-real", 12, 0));
  EXPECT_FALSE(has_code_for("100a-real", 10, 3));
  EXPECT_TRUE(has_code_for("120-real", 12, 1));
}

TEST(Architectures, AreToldToPeople) {
  EXPECT_EQ(describe_architectures(built), "8.0, 8.6, 8.9 and 9.0a");
  EXPECT_EQ(describe_architectures("80-real,90"), "8.0, 9.0 and PTX of 9.0");
  EXPECT_EQ(describe_architectures("100f-real"), "10.0f");
  EXPECT_EQ(describe_architectures(""), "no GPU");
}

}  // namespace
}  // namespace wan::gpu
