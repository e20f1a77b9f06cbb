// The help text, and values with units.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "apps/option_parser.h"
#include "apps/option_table.h"
#include "apps/options.h"
#include "kernels/attention.h"
#include "option_calls.h"

namespace wan::apps {
namespace {

using ::testing::HasSubstr;

/// --help names each row of the tables of solvers and attention backends.
TEST(Options, HelpTakesChoicesFromTheirTables) {
  std::string help = help_text();
  std::erase_if(help, [](unsigned char c) { return std::isspace(c); });
  const auto expect_in_help = [&](std::string choice) {
    std::erase_if(choice, [](unsigned char c) { return std::isspace(c); });
    EXPECT_THAT(help, HasSubstr(choice));
  };
  for (const SolverRow& row : solver_rows())
    expect_in_help(fmt::format("{} ({})", row.name, row.description));
  for (const kernels::AttentionBackend backend : kernels::attention_backends()) {
    expect_in_help(fmt::format("; {} (", kernels::to_string(backend)));
  }
}

TEST(Options, EveryTableLineIsReachableAndInTheHelp) {
  const std::string help = help_text();
  for (const OptionEntry& entry : option_table()) {
    EXPECT_THAT(help, HasSubstr("--" + std::string(entry.name))) << entry.name;
    const auto same_name = std::ranges::count(option_table(), entry.name, &OptionEntry::name);
    EXPECT_EQ(same_name, 1) << entry.name;
  }
  for (const NotBuilt& missing : not_built_table()) {
    EXPECT_EQ(std::ranges::count(option_table(), missing.name, &OptionEntry::name), 1) << missing.name;
  }
  EXPECT_THAT(help, HasSubstr("1280*720"));
  EXPECT_THAT(help, HasSubstr("Exit codes"));
}

TEST(Options, AWordBehindASwitchIsExplained) {
  EXPECT_EQ(message_with({"--offload-model", "perhaps"}),
            "two manifests are given: 'perhaps' and 'rows.csv'; give one, and run the program again for the "
            "other (--offload-model takes on|off|disk|auto, and not 'perhaps')");
  EXPECT_EQ(message_with({"--save-latents=all"}),
            "option --save-latents: 'all' is not one of final, steps, off");
  EXPECT_EQ(message_with({"--cfg-size", "both"}),
            "option --cfg-size: 'both' is neither auto nor a whole number");
}

TEST(Options, ProgramsWithoutAManifestRefuseBareWords) {
  for (const auto& table : {bench_option_table(), doctor_option_table()}) {
    std::string message;
    try {
      parse_plain_options(table, Arguments{"extra"});
    } catch (const UsageError& error) {
      message = error.what();
    }
    EXPECT_EQ(message, "'extra' is no option, and this program takes options only; see --help");
  }
}

TEST(Options, HelpAndVersionWinOverEverythingElse) {
  EXPECT_EQ(parse_options(Arguments{"--help", "--size", "nonsense"}).action, Action::help);
  EXPECT_EQ(parse_options(Arguments{"-h"}).action, Action::help);
  EXPECT_EQ(parse_options(Arguments{"--version"}).action, Action::version);
}

TEST(ParseTimeLimit, AsSbatchTakesIt) {
  EXPECT_EQ(parse_time_limit("30"), 30 * 60);
  EXPECT_EQ(parse_time_limit("30:15"), 30 * 60 + 15);
  EXPECT_EQ(parse_time_limit("01:30:05"), 5405);
  EXPECT_EQ(parse_time_limit("1-12"), 36 * 3600);
  EXPECT_EQ(parse_time_limit("1-12:30"), 36 * 3600 + 1800);
  EXPECT_EQ(parse_time_limit("1-12:30:10"), 36 * 3600 + 1810);
  for (const char* wrong : {"", "0", "00:00:00", "1:2:3:4", "1-", "-1", "-1:00", "1h", "1:-2", "1.5",
                            "12-1-1", ":", "99999999999999999999"}) {
    EXPECT_THROW(parse_time_limit(wrong), ValueError) << wrong;
  }
}

TEST(ParseBytes, UnitsAndErrors) {
  EXPECT_EQ(parse_bytes("48GiB"), std::uint64_t{48} << 30);
  EXPECT_EQ(parse_bytes("48G"), std::uint64_t{48} << 30);
  EXPECT_EQ(parse_bytes("80 GB"), 80'000'000'000U);
  EXPECT_EQ(parse_bytes("1.5KiB"), 1536U);
  EXPECT_EQ(parse_bytes("512B"), 512U);
  for (const char* bad :
       {"48", "GiB", "", "48GiBs", "48Q", "-1GB", "1e3GB", "9999999999TB", "1.2.3GB", "G"}) {
    EXPECT_THROW(parse_bytes(bad), ValueError) << bad;
  }
}

TEST(Options, TheVaesPrecision) {
  EXPECT_EQ(parse_with({}).vae_precision, launch::VaePrecision::exact);
  EXPECT_EQ(parse_with({"--vae-precision", "fp16"}).vae_precision, launch::VaePrecision::fp16);
  EXPECT_EQ(parse_with({"--vae-precision", "bf16"}).vae_precision, launch::VaePrecision::bf16);
  EXPECT_EQ(message_with({"--vae-precision", "fp32"}),
            "option --vae-precision: 'fp32' is not one of exact, fp16, bf16");
}

}  // namespace
}  // namespace wan::apps
