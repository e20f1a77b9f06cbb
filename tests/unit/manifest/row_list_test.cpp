// The rows of a manifest as jobs/extend_prompts.py gets them, and the columns that it adds.
#include "manifest/row_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "manifest/manifest_format.h"
#include "support/message_of.h"

namespace wan::manifest {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The manifest's line, then those of the rows.
std::vector<json> listed(std::string_view text, std::optional<TaskKind> task = {}, const Shard& shard = {},
                         const std::filesystem::path& path = "in/m.csv") {
  std::vector<json> lines;
  list_rows(text, path, task, shard, [&](std::string_view line) {
    EXPECT_EQ(std::ranges::count(line, '\n'), 1);
    lines.push_back(json::parse(line));
  });
  return lines;
}

std::vector<std::string> texts(const json& cells) {
  std::vector<std::string> found;
  for (const json& cell : cells) found.push_back(cell.value("text", cell.value("hex", "")));
  return found;
}

TEST(RowList, KeepsDelimiterNamesQuotesAndColumnsWithoutName) {
  const auto lines = listed(
      ";file_name;Prompt;seed\r\n"
      "0; a.png ;\"two\r\n\"\"lines\"\" 🐈\"; 7 \r\n"
      "1;b.png;plain;\r\n");
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0]["format"], "csv");
  EXPECT_EQ(lines[0]["delimiter"], ";");
  EXPECT_THAT(texts(lines[0]["header"]), ElementsAre("", "file_name", "Prompt", "seed"));
  EXPECT_EQ(lines[0]["header"][1]["column"], "image");
  EXPECT_EQ(lines[0]["header"][0]["column"], nullptr);
  EXPECT_THAT(texts(lines[1]["cells"]), ElementsAre("0", " a.png ", "two\r\n\"lines\" 🐈", " 7 "));
  EXPECT_EQ(lines[1]["cells"][2]["quoted"], true);
  EXPECT_EQ(lines[1]["cells"][1]["quoted"], false);
  EXPECT_EQ(lines[1]["cells"][3]["line"], 3);
  EXPECT_EQ(lines[1]["cells"][3]["at"], 14);
  EXPECT_EQ(lines[1]["image"], "in/a.png");
  EXPECT_EQ(lines[1]["values"]["seed"], 7);
  EXPECT_EQ(lines[1]["error"], nullptr);
  EXPECT_EQ(lines[2]["line"], 4);
  EXPECT_THAT(texts(lines[2]["cells"]), ElementsAre("1", "b.png", "plain", ""));
}

TEST(RowList, ReadsRowsAsARunDoes) {
  const std::string text =
      "id,image,prompt,negative_prompt,size,frame_num,sample_steps,sample_shift,sample_guide_scale,"
      "sample_solver,boundary\n"
      "a,x.png,cat,bad,480p,5,3,2.5,1:2,dpm++,0.5\n"
      ",x.png,dog,,,,,,,,\n";
  const auto lines = listed(text);
  const auto rows = parse_manifest(text, "in/m.csv", TaskKind::i2v);
  EXPECT_EQ(lines[2]["id"], rows[1].id);
  EXPECT_EQ(lines[1]["values"], json::parse(R"({"negative_prompt": "bad", "size": "832*480", "frame_num": 5,
      "sample_steps": 3, "sample_shift": 2.5, "sample_guide_scale": [1.0, 2.0], "sample_solver": "dpm++",
      "boundary": 0.5})"));
}

TEST(RowList, JsonRowsHaveTheirCellsByColumn) {
  const auto lines =
      listed("{\"text\": \"a \\\"cat\\\"\", \"seed\": 5, \"size\": null}\n", {}, {}, "in/m.jsonl");
  EXPECT_EQ(lines[0]["format"], "json");
  EXPECT_EQ(lines[0]["delimiter"], nullptr);
  ASSERT_EQ(lines[1]["cells"].size(), 2U);
  EXPECT_EQ(lines[1]["cells"][0]["column"], "prompt");
  EXPECT_EQ(lines[1]["cells"][0]["text"], "a \"cat\"");
  EXPECT_EQ(lines[1]["cells"][1]["text"], "5");
}

TEST(RowList, SaysWhatIsWrongWithARow) {
  const auto lines =
      listed("image,prompt,seed\nx.png,cat,no\nx.png,a\"b,\nx.png,\xFF,\nx.png,,\nx.png, ,no\n,,1\n");
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_THAT(lines[1]["error"].get<std::string>(), HasSubstr("in/m.csv:2:11: seed: 'no'"));
  EXPECT_EQ(lines[1]["form_is_broken"], false);
  EXPECT_EQ(lines[2]["form_is_broken"], true);
  EXPECT_EQ(lines[3]["cells"][1]["hex"], "ff");
  EXPECT_EQ(lines[4]["lacks_only_prompt"], true);
  EXPECT_EQ(lines[4]["image"], "in/x.png");
  EXPECT_EQ(lines[5]["lacks_only_prompt"], false) << "its seed is wrong, too";
  EXPECT_EQ(lines[6]["lacks_only_prompt"], true) << "a row of t2v";
}

TEST(RowList, WithoutATaskEachRowHasItsOwn) {
  const std::string text = "image,prompt\nx.png,cat\n,dog\n";
  const auto lines = listed(text);
  EXPECT_EQ(lines[1]["error"], nullptr);
  EXPECT_EQ(lines[2]["error"], nullptr);
  EXPECT_THAT(listed(text, TaskKind::i2v)[2]["error"].get<std::string>(), HasSubstr("the image is missing"));
  EXPECT_THAT(listed(text, TaskKind::t2v)[1]["error"].get<std::string>(), HasSubstr("an image is given"));
}

TEST(RowList, AShardKeepsItsRowsWithTheirNumbers) {
  const auto lines = listed("prompt\na\nb\nc\nd\n", {}, {.index = 1, .count = 2});
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0]["rows"], 4);
  EXPECT_EQ(lines[1]["index"], 1);
  EXPECT_EQ(lines[1]["cells"][0]["text"], "b");
  EXPECT_EQ(lines[2]["prompt"], "d");
}

TEST(RowList, RefusesAWholeManifestAsARunDoes) {
  EXPECT_THAT(test::message_of<UsageError>([] { listed("promt\nx\n"); }),  // codespell:ignore promt
              HasSubstr("did you mean 'prompt'?"));
}

TEST(ExtensionColumns, AreKeptAndNameNoItem) {
  const auto plain = parse_manifest("prompt\na long cat\n", "m.csv", TaskKind::t2v);
  const std::string csv =
      "prompt,original_prompt,extend_model,extend_model_sha256,extend_settings,extend_seed,extend_status\n"
      "a long cat,cat,Qwen,abc,lang=en,7,extended\n";
  const auto rows = parse_manifest(csv, "m.csv", TaskKind::t2v);
  EXPECT_EQ(rows[0].error, std::nullopt);
  EXPECT_EQ(rows[0].id, plain[0].id);
  EXPECT_EQ(rows[0].extension.size(), extension_columns.size());
  EXPECT_EQ(rows[0].extension.at("original_prompt"), "cat");
  EXPECT_EQ(rows[0].extension.at("extend_seed"), "7");
  const auto json_rows = parse_manifest(
      R"({"prompt": "a long cat", "original_prompt": "cat", "extend_seed": 7})", "m.jsonl", TaskKind::t2v);
  EXPECT_EQ(json_rows[0].id, plain[0].id);
  EXPECT_EQ(json_rows[0].extension.at("extend_seed"), "7");
}

}  // namespace
}  // namespace wan::manifest
