#include "model/lora_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/parse_value.h"
#include "support/message_of.h"
#include "support/temp_dir.h"

namespace wan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class LoraChoices : public ::testing::Test {
 protected:
  void touch(const std::string& name) { std::ofstream(dir_ / name) << "x"; }
  LoraChoice choice(const std::string& name, double strength, LoraExperts experts) {
    return {.path = dir_ / name, .strength = strength, .experts = experts};
  }
  LoraChoice parsed(const std::string& text) { return parse_lora(text, dir_.path()); }
  std::string message_for(const std::string& text) {
    return test::message_of<ValueError>([&] { parsed(text); });
  }
  test::TempDir dir_;
};

TEST_F(LoraChoices, AreReadFromTheRight) {
  touch("a.safetensors");
  EXPECT_EQ(parsed("a.safetensors"), choice("a.safetensors", 1, LoraExperts::automatic));
  EXPECT_EQ(parsed("a.safetensors:0.5"), choice("a.safetensors", 0.5, LoraExperts::automatic));
  EXPECT_EQ(parsed("a.safetensors:-2@high"), choice("a.safetensors", -2, LoraExperts::high_noise));
  EXPECT_EQ(parsed("a.safetensors@low:3"), choice("a.safetensors", 3, LoraExperts::low_noise));
  EXPECT_EQ(parsed("a.safetensors@both"), choice("a.safetensors", 1, LoraExperts::both));
  EXPECT_EQ(parse_lora(to_text(parsed("a.safetensors:0.25@low"))),
            choice("a.safetensors", 0.25, LoraExperts::low_noise));
}

TEST_F(LoraChoices, AFileOfTheWholeNameWins) {
  for (const char* name : {"a", "a:0.5", "a:0.5@high", "b@low", "c:1:2@x"}) touch(name);
  EXPECT_EQ(parsed("a:0.5@high"), choice("a:0.5@high", 1, LoraExperts::automatic));
  EXPECT_EQ(parsed("a:0.5@low"), choice("a:0.5", 1, LoraExperts::low_noise));
  EXPECT_EQ(parsed("a:0.5"), choice("a:0.5", 1, LoraExperts::automatic));
  EXPECT_EQ(parsed("a:0.6"), choice("a", 0.6, LoraExperts::automatic));
  EXPECT_EQ(parsed("b@low@low"), choice("b@low", 1, LoraExperts::low_noise));
  EXPECT_EQ(parsed("c:1:2@x:0.1"), choice("c:1:2@x", 0.1, LoraExperts::automatic));
}

TEST_F(LoraChoices, ListsAreDividedBySemicolons) {
  touch("a");
  touch("b");
  EXPECT_THAT(parse_loras("a:2; b@high ;", dir_.path()),
              ::testing::ElementsAre(choice("a", 2, LoraExperts::automatic),
                                     choice("b", 1, LoraExperts::high_noise)));
  EXPECT_THAT(parse_loras(" ", dir_.path()), ::testing::IsEmpty());
  std::string many;
  for (int i = 0; i < 64; ++i) many += "a:0.01; ";
  EXPECT_EQ(parse_loras(many + ";", dir_.path()).size(), 64U);
  EXPECT_THAT(test::message_of<ValueError>([&] { parse_loras(many + "b", dir_.path()); }),
              HasSubstr("it names more than 64 LoRAs"));
}

TEST_F(LoraChoices, ProblemsAreNamed) {
  touch("a");
  EXPECT_THAT(message_for("none:0.5"), AllOf(HasSubstr("there is no file or folder 'none'")));
  EXPECT_THAT(message_for("a@hi"), HasSubstr("if '@hi' names an expert, write @high, @low or @both"));
  EXPECT_THAT(message_for("a:x"), HasSubstr("if 'x' is a strength, write a number"));
  EXPECT_THAT(message_for("a:1000"), HasSubstr("the strength: 1000 is not between -100 and 100"));
  EXPECT_THAT(message_for("a:nan"), HasSubstr("the strength: nan is not between"));
  EXPECT_THAT(message_for(""), HasSubstr("the path is empty"));
  EXPECT_THAT(message_for("https://host/a.safetensors"), HasSubstr("is a URL"));
}

}  // namespace
}  // namespace wan
