// Manifests as spreadsheets, pandas and other programs write them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <ctime>
#include <fstream>

#include "manifest/item_id.h"
#include "manifest/manifest.h"
#include "support/message_of.h"
#include "support/temp_dir.h"

namespace wan::manifest {
namespace {

using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<ManifestRow> parse(std::string_view text, const std::filesystem::path& path = "in/m.csv") {
  return parse_manifest(text, path, TaskKind::i2v);
}

std::string usage_error(std::string_view text, const std::filesystem::path& path = "in/m.csv") {
  return message_of<UsageError>([&] { parse(text, path); });
}

/// "image|prompt" of each row, or its error.
std::vector<std::string> shown(const std::vector<ManifestRow>& rows) {
  std::vector<std::string> texts;
  for (const ManifestRow& row : rows)
    texts.push_back(row.error ? *row.error : fmt::format("{}|{}", row.image.string(), row.prompt));
  return texts;
}

using Texts = std::vector<std::string>;

TEST(ManifestForms, DelimiterIsFoundFromTheHeader) {
  const Texts expected{"in/a.png|a cat, running"};
  EXPECT_EQ(shown(parse("image;prompt\r\na.png;a cat, running\r\n")), expected);
  EXPECT_EQ(shown(parse("image\tprompt\na.png\ta cat, running\n")), expected);
  EXPECT_EQ(shown(parse("image|prompt\na.png|\"a cat, running\"\n")), expected);
  EXPECT_EQ(shown(parse("sep=;\r\nimage;prompt\r\na.png;a cat, running\r\n")), expected);
  EXPECT_EQ(shown(parse("\xEF\xBB\xBFsep=\t\nimage\tprompt\na.png\ta cat, running\n")), expected);
  EXPECT_EQ(shown(parse("\"sep=,\"\nimage,prompt\na.png,\"a cat, running\"\n")), expected);
  EXPECT_EQ(shown(parse("image\tprompt\n a.png\t\n")), Texts{"in/m.csv:2:1: the prompt is missing"});
  EXPECT_EQ(parse("sep=;\nimage;prompt;seed\na.png;cat;x\n")[0].error,
            "in/m.csv:3:11: seed: 'x' is not a whole number");
  EXPECT_EQ(
      shown(parse("image;prompt\na.png;cat;dog\n")),
      Texts{"in/m.csv:2:1: 3 values where the first line names 2 columns; put a value with semicolons in "
            "quotes"});
}

TEST(ManifestForms, ColumnsWithoutANameAreIgnoredWithOneNote) {
  std::vector<std::string> notes;
  const Texts expected{"in/a.png|cat", "in/b.png|dog"};
  const auto read = [&](std::string_view text) {
    notes.clear();
    return shown(parse_manifest(text, "in/m.csv", TaskKind::i2v, &notes));
  };
  EXPECT_EQ(read(",image,prompt\n0,a.png,cat\n1,b.png,dog\n"), expected);
  EXPECT_EQ(notes, Texts{"in/m.csv: 1 column without a name is ignored"});
  EXPECT_EQ(read(",Unnamed: 0,image,prompt\n7,0.0,a.png,cat\n3,1.0,b.png,dog\n"), expected);
  EXPECT_EQ(read("image,prompt,,\r\na.png,cat,,\r\n,,,\r\nb.png,dog\r\n"), expected);
  EXPECT_EQ(notes, Texts{"in/m.csv: 2 columns without a name are ignored"});
  EXPECT_EQ(read("image,,prompt\na.png,,cat\nb.png,,dog\n"), expected);
  EXPECT_EQ(read("image,prompt\na.png,cat,,,\nb.png,dog,\n"), expected);
  EXPECT_EQ(notes, Texts{});
  EXPECT_EQ(
      read("image,prompt" + std::string(16'382, ',') + "\na.png,cat\nb.png,dog" + std::string(16'382, ',')),
      expected);
  EXPECT_THAT(read(",image,prompt\nx,a.png,cat\n").at(0),
              StartsWith("in/m.csv:2:1: column 1 has no name in the first line and holds 'x'"));
  EXPECT_THAT(read("image,prompt,\na.png,a cat, running\n").at(0),
              HasSubstr("put a value with commas in quotes"));
}

TEST(ManifestForms, RowsWithoutAnyValueAreSkipped) {
  EXPECT_EQ(shown(parse("image,prompt\r\na.png,cat\r\n,\r\n , \r\n\r\n   \r\nb.png,dog\r\n")),
            (Texts{"in/a.png|cat", "in/b.png|dog"}));
  EXPECT_EQ(shown(parse("{\"image\":\"a.png\",\"prompt\":\"cat\"}\n{}\n{\"image\":null,\"prompt\":\"\"}\n")),
            Texts{"in/a.png|cat"});
  EXPECT_EQ(usage_error("image,prompt\n,\n,\n"), "in/m.csv: the manifest has a header but no rows");
  std::string text = "image,prompt,seed\na.png,cat,\n";
  for (int i = 0; i < 100'000; ++i) text += ",,\r\n";
  const std::clock_t begin = std::clock();  // of this process: others may take the cores
  EXPECT_EQ(parse(text).size(), 1U);
  EXPECT_LT(std::clock() - begin, 2 * CLOCKS_PER_SEC);
}

TEST(ManifestForms, NumbersAsPandasWritesThem) {
  const auto csv =
      parse("image,prompt,seed,frame_num,sample_shift\na,x,42.0,81.0,NaN\nb,y,1e3,,nan\nc,z,NaN,<NA>,null\n");
  EXPECT_EQ(csv[0].overrides.seed, 42U);
  EXPECT_EQ(csv[0].overrides.frame_num, 81);
  EXPECT_EQ(csv[0].overrides.sample_shift, std::nullopt);
  EXPECT_EQ(csv[1].overrides.seed, 1000U);
  EXPECT_EQ(csv[2].overrides.seed, std::nullopt);
  for (const auto& row : csv) EXPECT_EQ(row.error, std::nullopt);
  const auto json = parse(
      "{\"image\":\"a.png\",\"prompt\":\"cat\",\"seed\":NaN}\n"
      "{\"image\":\"a.png\",\"prompt\":\"NaN, a cat\",\"seed\": NaN , \"size\":null}\n"
      "{\"image\":\"a.png\",\"prompt\":\"cat\",\"seed\":42.0}\n"
      "{\"image\":\"a.png\",\"prompt\":\"cat\",\"seed\":18446744073709551615}\n");
  for (const auto& row : json) EXPECT_EQ(row.error, std::nullopt);
  EXPECT_EQ(json[0].overrides.seed, std::nullopt);
  EXPECT_EQ(json[1].prompt, "NaN, a cat");
  EXPECT_EQ(json[2].overrides.seed, 42U);
  EXPECT_EQ(json[3].overrides.seed, 18446744073709551615U);
  EXPECT_EQ(parse("image,prompt\na.png,null\n")[0].prompt, "null") << "a text may say so";
  const auto texts = parse("image,prompt,negative_prompt\na.png,cat,nan\na.png,dog,NaN noise\n");
  EXPECT_EQ(texts[0].overrides.negative_prompt, std::nullopt) << "the task's default, not the word";
  EXPECT_EQ(texts[1].overrides.negative_prompt, "NaN noise");
}

TEST(ManifestForms, JsonLists) {
  const auto rows = parse(
      "[\n {\"image\":\"a.png\",\"prompt\":\"cat\"},\n {\"image\":\"b.png\",\n  \"prompt\":\"dog\", "
      "\"seed\": \"x\"}\n]\n",
      "in/array.json");
  EXPECT_EQ(shown(rows), (Texts{"in/a.png|cat", "in/array.json:4:27: seed: 'x' is not a whole number"}));
  EXPECT_EQ(rows[1].line, 3);
  EXPECT_EQ(shown(parse(" [{\"image\":\"a\",\"prompt\":\"]\\\"[\"}]")), Texts{"in/a|]\"["});
  EXPECT_THAT(usage_error("[{\"image\":\"a\"},\n 5]"),
              StartsWith("in/m.csv:2:2: not a list of objects: a row that"));
  EXPECT_THAT(usage_error("[{\"image\":\"a\",\"prompt\":\"b\"}\n{}]"),
              StartsWith("in/m.csv:2:1: not a list of objects"));
  EXPECT_THAT(usage_error("[{\"image\":\"a\",\"prompt\":\"b\"}"), HasSubstr("the closing ] is missing"));
  EXPECT_THAT(usage_error("[{\"image\":\"a\""), HasSubstr("is not closed"));
  EXPECT_EQ(usage_error("[]"), "in/m.csv: the manifest holds no row with values");
  EXPECT_EQ(usage_error("[{\"image\":\"a\",\"prompt\":\"b\"},\n"),
            "in/m.csv:2:1: not a list of objects: the file ends before the closing ]; is it complete?");
  EXPECT_THAT(usage_error(std::string(300'000, '[')), HasSubstr("a row that is no object"));
}

TEST(ManifestForms, OtherJsonIsToldOnce) {
  EXPECT_THAT(usage_error("{\n \"image\": \"a.png\",\n \"prompt\": \"cat\"\n}\n"),
              StartsWith("in/m.csv:1:1: the file is JSON, but an object goes over several lines"));
  EXPECT_THAT(usage_error("{\"image\":{\"0\":\"a.png\"},\"prompt\":{\"0\":\"cat\"}}\n"),
              AllOf(HasSubstr("one object instead of a list of rows"), HasSubstr("orient='records'")));
  EXPECT_THAT(usage_error("{\"data\":[{\"image\":\"a.png\",\"prompt\":\"cat\"}]}\n"),
              HasSubstr("list of rows"));
  EXPECT_THAT(usage_error("{\"image\":{\"0\":\"a.png\"},\n\"prompt\":7}\n"),
              HasSubstr("an object goes over several lines"));
  EXPECT_THAT(shown(parse("{\"image\":{\"0\":\"a.png\"},\"prompt\":\"a: {b}\"}\n")).at(0),
              HasSubstr("image is a list or an object"));
  EXPECT_THAT(shown(parse("{\"image\":[\"a.png\"],\"prompt\":{\"0\":tru}}\n")).at(0),
              HasSubstr("image is a list or an object"));
  EXPECT_THAT(usage_error("\"a text\"\n", "in/m.json"),
              StartsWith("in/m.json:1:1: the file's name says JSON"));
  EXPECT_THAT(usage_error("image,prompt\na,b\n", "in/m.jsonl"), HasSubstr("says JSON"));
  EXPECT_EQ(shown(parse("{\"image\":\"a.png\",\"prompt\":\"cat\",\"tags\":[\"x\"]}\n")),
            Texts{"in/m.csv:1:40: tags is a list or an object; write texts and numbers only"});
}

TEST(ManifestForms, JsonOfAnotherShapeIsToldWithoutHoldingItsValues) {
  constexpr int lists = 4'000'000;
  constexpr std::int64_t most_kib = 64 << 10;  // the text takes a fifth of it
  std::string text = "{\"a\":[";
  text.reserve(3 * lists + 100);
  for (int i = 0; i < lists; ++i) text += "[],";
  text += "[]]}";
  const auto peak_kib = [] {
    rusage usage{};
    EXPECT_EQ(::getrusage(RUSAGE_SELF, &usage), 0);
    return std::int64_t{usage.ru_maxrss};
  };
  const std::int64_t before_kib = peak_kib();
  EXPECT_THAT(usage_error(text, "in/m.json"), HasSubstr("one object instead of a list of rows"));
  EXPECT_LT(peak_kib() - before_kib, most_kib);
}

TEST(ManifestForms, JsonLinesThatEndInCommas) {
  EXPECT_EQ(
      shown(parse("{\"image\":\"a.png\",\"prompt\":\"cat\"},\r\n{\"image\":\"b.png\",\"prompt\":\"dog\"} , \n"
                  "{\"image\":\"c.png\",\"prompt\":\"},\"}\n",
                  "in/m.jsonl")),
      (Texts{"in/a.png|cat", "in/b.png|dog", "in/c.png|},"}));
}

TEST(ManifestForms, NumbersThatAreNoneAreTheRowsOwnErrors) {
  const std::string row = R"({"image":"a.png","prompt":"cat","seed":)";
  EXPECT_EQ(
      shown(parse(row + "Infinity}\n" + row + "-Infinity}\n" + row + "1e400}\n" + row + "1,\"seed\":2}\n")),
      (Texts{"in/m.csv:1:40: seed: 'inf' is not a whole number",
             "in/m.csv:2:40: seed: -inf is not between -1 (a random seed) and 18446744073709551615",
             "in/m.csv:3:1: not valid JSON: number overflow parsing '1e400'",
             "in/m.csv:4:49: the key 'seed' is given twice"}));
}

TEST(ManifestForms, AFirstLineWithoutNamesIsToldOnce) {
  for (const std::string first : {"a.png,a cat", "image^prompt", "image:prompt", "a.png"}) {
    EXPECT_THAT(usage_error(first + "\nb.png,x\n"),
                AllOf(StartsWith("in/m.csv:1:1: the first line names no column: '" +
                                 first.substr(0, first.find(','))),
                      HasSubstr("image,prompt, divided by commas, semicolons, tabs or bars")));
  }
  EXPECT_THAT(usage_error("image_path,caption\na.png,x\n"), HasSubstr("did you mean 'image'?"));
}

TEST(ManifestForms, BlanksAroundValues) {
  const wan::test::TempDir dir;
  for (const char* name : {"a.png", "b.png", " c.png"}) std::ofstream(dir / name).put('x');
  const auto rows =
      parse("image, prompt\na.png , a cat\n b.png, \"a dog, running\" \n c.png,x\n d.png,y\n\" b.png\",z\n",
            dir / "m.csv");
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_EQ(rows[0].image, dir / "a.png");
  EXPECT_EQ(rows[1].image, dir / "b.png");
  EXPECT_EQ(rows[1].prompt, "a dog, running");
  EXPECT_EQ(rows[2].image, dir / " c.png") << "a file of just this name";
  EXPECT_EQ(rows[3].image, dir / "d.png") << "neither is there";
  EXPECT_EQ(rows[4].image, dir / " b.png") << "quoted";
}

TEST(ManifestForms, PathsOfOtherPlaces) {
  const std::filesystem::path home = std::getenv("HOME");
  EXPECT_EQ(
      shown(parse("image,prompt\n/abs/a.png,x\n~/a.png,y\nC:\\pics\\a.png,z\nhttps://x/y.png,w\n")),
      (Texts{"/abs/a.png|x", (home / "a.png").string() + "|y", "in/C:\\pics\\a.png|z",
             "in/m.csv:5:1: image: 'https://x/y.png' is a URL, and only files are read: download it first"}));
}

TEST(ManifestForms, HubColumnsAndLetterCase) {
  EXPECT_EQ(shown(parse("file_name,text\na.png,cat\n")), Texts{"in/a.png|cat"});
  EXPECT_EQ(shown(parse("File_Name,TEXT\na.png,cat\n")), Texts{"in/a.png|cat"});
  EXPECT_EQ(shown(parse("{\"file_name\":\"a.png\",\"Text\":\"cat\"}\n")), Texts{"in/a.png|cat"});
  EXPECT_EQ(parse("Image;Prompt;Sample Steps\na.png;cat;4\n")[0].overrides.sample_steps, 4);
  EXPECT_EQ(usage_error("image,file_name,prompt\na,b,c\n"),
            "in/m.csv:1:7: column 'file_name' means 'image', which is there already; keep one of them");
  EXPECT_THAT(*parse("{\"image\":\"a\",\"file_name\":\"b\",\"prompt\":\"c\"}\n")[0].error,
              HasSubstr("image is given twice"));
}

TEST(ManifestForms, EqualRowsGetNumbers) {
  const auto rows = parse("image,prompt,frame_num\na.png,cat,81\na.png,cat,81\nb.png,cat,81\na.png,cat,81\n");
  EXPECT_EQ(rows[1].id, rows[0].id + "-2");
  EXPECT_EQ(rows[3].id, rows[0].id + "-3");
  for (const auto& row : rows) EXPECT_EQ(row.error, std::nullopt);
  const std::string taken = rows[0].id;
  const auto given = parse("id,image,prompt,frame_num\n,a.png,cat,81\n" + taken + ",x.png,dog,\n");
  EXPECT_EQ(given[0].id, taken + "-2") << "a given id stays, wherever it stands";
  EXPECT_EQ(given[1].id, taken);
}

TEST(ManifestForms, OnlyTheRowWithBackslashQuotesFails) {
  for (const std::string bad : {R"("a.png","a \"red\" cat")", R"("a.png","he said \"hi\"")",
                                R"("a.png","\"")", R"("a.png","a \"red, blue\", cat")"}) {
    const auto rows = parse("image,prompt\n" + bad + "\n\"b.png\",\"dog\"\nc.png,cow\n");
    ASSERT_EQ(rows.size(), 3U) << bad;
    EXPECT_THAT(rows[0].error.value_or(""), AllOf(StartsWith("in/m.csv:2:"), HasSubstr("written twice")))
        << bad;
    EXPECT_EQ(shown({rows[1], rows[2]}), (Texts{"in/b.png|dog", "in/c.png|cow"})) << bad;
  }
  const auto rows = parse("image,prompt\na.png,\"He said \"hi\" \"\nb.png,dog\n");
  EXPECT_THAT(rows.at(0).error.value_or(""), StartsWith("in/m.csv:2:17: text after a closing quote"));
  EXPECT_EQ(rows.at(1).error, std::nullopt);
}

TEST(ManifestForms, DecimalCommasAreAskedAbout) {
  const auto error = [](const std::string& value) {
    return parse("image,prompt,sample_guide_scale\na,b,\"" + value + "\"\n")[0].error.value_or("no error");
  };
  EXPECT_THAT(error("3,5"), HasSubstr("'3,5' may mean the one value 3.5, or LOW 3 and HIGH 5"));
  EXPECT_EQ(error("3:5"), "no error");
  EXPECT_EQ(error("3.0,4.0"), "no error");
  EXPECT_EQ(error("3, 4.5"), "no error");
}

TEST(ManifestForms, OtherKindsOfFilesAreNamed) {
  EXPECT_THAT(usage_error("PK\x03\x04..."), HasSubstr("workbook"));
  EXPECT_THAT(usage_error(std::string("i\0m\0a\0", 6)), HasSubstr("UTF-16"));
  EXPECT_THAT(usage_error("\xEF\xBB\xBF \n"), HasSubstr("is empty"));
}

TEST(ItemId, KeepsLettersOfAnyScriptAndBlanks) {
  for (const char* id : {"my video", "猫", "été", "क्षि", "Video (1) [final], v2", "a　b", "🐈"}) {
    EXPECT_NO_THROW(check_id(id)) << id;
  }
  for (const char* id :
       {" a", "a ", "a\tb", "a\nb", "-a", ".a", "a:b", "a|b", "a*b", "a\"b", "a'b", "a;b", "a`b", "\xff"}) {
    EXPECT_THROW(check_id(id), ValueError) << id;
  }
  EXPECT_THAT(automatic_id("猫 と 犬", "x"), StartsWith("猫_と_犬-"));
  EXPECT_THAT(automatic_id("é" + std::string(60, 'a'), "x"), StartsWith("é" + std::string(46, 'a') + "-"));
  EXPECT_THAT(automatic_id("\xff\xfe", "x"), StartsWith("item-"));
  EXPECT_NO_THROW(check_id(automatic_id("\xe2\x80\xae/..\x1b", "x")));
}

}  // namespace
}  // namespace wan::manifest
