#include "manifest/manifest.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "core/strings.h"
#include "manifest/item_id.h"
#include "manifest/resolve.h"
#include "model/model_kind.h"
#include "support/message_of.h"
#include "support/temp_dir.h"

namespace wan::manifest {
namespace {

using test::message_of;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<ManifestRow> parse(std::string_view text, TaskKind kind = TaskKind::i2v) {
  return parse_manifest(text, "in/m.csv", kind);
}

std::string usage_error(std::string_view text, TaskKind kind = TaskKind::i2v) {
  return message_of<UsageError>([&] { parse(text, kind); });
}

/// The error of the only row below this header.
std::string row_error(const std::string& header, const std::string& row) {
  const auto rows = parse(header + "\n" + row + "\n");
  if (rows.size() != 1) return fmt::format("{} rows", rows.size());
  return rows[0].error.value_or("no error");
}

TEST(Manifest, ReadsEveryColumn) {
  const auto rows = parse(
      "\xEF\xBB\xBFid,image,prompt,negative_prompt,seed,size,frame_num,sample_steps,sample_shift,sample_"
      "guide_scale,"
      "sample_solver,boundary\r\n"
      "a,x.png,\"A cat,\r\n\"\"two\"\" lines\",bad,7,832*480,5, 3 ,2.5,1:2,dpm++,0.5\r\n\r\n"
      ",/abs/y.png,dog,,,,,,,,,\r\n");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].error, std::nullopt);
  EXPECT_EQ(rows[0].id, "a");
  EXPECT_EQ(rows[0].image, "in/x.png");
  EXPECT_EQ(rows[0].prompt, "A cat,\r\n\"two\" lines");
  EXPECT_EQ(rows[0].overrides.negative_prompt, "bad");
  EXPECT_EQ(rows[0].overrides.seed, 7);
  EXPECT_EQ(rows[0].overrides.size, (PixelSize{832, 480}));
  EXPECT_EQ(rows[0].overrides.frame_num, 5);
  EXPECT_EQ(rows[0].overrides.sample_steps, 3);
  EXPECT_EQ(rows[0].overrides.sample_shift, 2.5);
  EXPECT_EQ(rows[0].overrides.guide_scale, (GuideScale{1, 2}));
  EXPECT_EQ(rows[0].overrides.solver, Solver::dpmpp);
  EXPECT_EQ(rows[0].overrides.boundary, 0.5);
  EXPECT_EQ(rows[1].image, "/abs/y.png");
  EXPECT_EQ(rows[1].line, 5);
  EXPECT_THAT(rows[1].id, ::testing::MatchesRegex("y-[0-9a-f]{8}"));
  EXPECT_EQ(rows[1].overrides.frame_num, std::nullopt);
}

TEST(Manifest, JsonLinesGiveTheSameRowsAsCsv) {
  const auto csv = parse("image,prompt,seed,sample_shift\nx.png,A cat,7,2.5\n");
  const auto json =
      parse("{\"prompt\": \"A cat\", \"seed\": 7, \"image\": \"x.png\", \"sample_shift\": 2.5}\n");
  ASSERT_EQ(json.size(), 1U);
  EXPECT_EQ(json[0].error, std::nullopt);
  EXPECT_EQ(json[0].id, csv[0].id);
  EXPECT_EQ(json[0].overrides.seed, 7);
}

TEST(Manifest, AutomaticIdsSurviveInsertedRowsAndEmptyColumns) {
  const auto before = parse("image,prompt\nx.png,cat\ny.png,dog\n");
  const auto after = parse("image,prompt,seed\nnew.png,bird,1\nx.png,cat,\ny.png,dog,\n");
  EXPECT_EQ(before[0].id, after[1].id);
  EXPECT_EQ(before[1].id, after[2].id);
  EXPECT_NE(before[0].id, parse("image,prompt\nx.png,cats\n")[0].id);
  EXPECT_THAT(parse("prompt\nA cat / on ../ a mat\n", TaskKind::t2v)[0].id, StartsWith("A_cat_on_.._a_mat-"));
}

TEST(Manifest, WholeFileErrorsNameThePlace) {
  EXPECT_EQ(usage_error(" \n"),
            "in/m.csv:1:1: the manifest is empty; its first line names the columns: image,prompt");
  EXPECT_EQ(usage_error("image,prompt\n"), "in/m.csv: the manifest has a header but no rows");
  EXPECT_EQ(usage_error("prompt\ncat\n"),
            "in/m.csv:1:1: column 'image' is missing; the first line names prompt");
  EXPECT_EQ(usage_error("image,promt\nx,y\n"),  // codespell:ignore promt
            "in/m.csv:1:7: unknown column 'promt'; did you mean 'prompt'?");
  EXPECT_THAT(usage_error("image,prompt,steps\n"), HasSubstr("did you mean 'sample_steps'?"));
  EXPECT_THAT(usage_error("image,prompt,\x1b[31m\n"),
              HasSubstr("unknown column '\\x1b[31m'; there are id, image"));
  EXPECT_EQ(usage_error("image,prompt,image\n"), "in/m.csv:1:14: column 'image' is there twice");
  EXPECT_EQ(usage_error("id,image,prompt\na,x,y\nb,x,y\na,x,z\n"),
            "in/m.csv:4:1: this row has the id as line 2: 'a'; give each row an id of its own");
  EXPECT_THAT(usage_error("image,prompt\nö,\"never\nclosed\n"),
              StartsWith("in/m.csv:2:3: a quote is opened here"));
  EXPECT_THAT(usage_error("image,\"prompt\n"), StartsWith("in/m.csv:1:7: a quote is opened here"));
  EXPECT_THAT(usage_error("\xFF\xFEi\0m\0"), HasSubstr("UTF-16"));
  EXPECT_THAT(usage_error("{\"image\":\"x\",\"prompt\":\"y\",\"sed\":1}\n"),
              StartsWith("in/m.csv:1:33: unknown column 'sed'; did you mean 'seed'?"));
  EXPECT_EQ(usage_error("{\"image\":\"x\"}\n"), "in/m.csv:1:1: no row has the key 'prompt'");
  EXPECT_THAT(usage_error(std::string(1 << 20, ',')),
              StartsWith("in/m.csv:1:1: the first line names no column"));
}

TEST(Manifest, BadRowsCarryFileLineAndColumn) {
  const std::string h = "image,prompt,";
  EXPECT_EQ(row_error(h + "sample_steps", "x,y,4o"),
            "in/m.csv:2:5: sample_steps: '4o' is not a whole number");
  EXPECT_EQ(row_error(h + "sample_steps", "x,y,0"),
            "in/m.csv:2:5: sample_steps: 0 is not between 1 and 1000");
  EXPECT_THAT(row_error(h + "frame_num", "é,y,80"), StartsWith("in/m.csv:2:5: frame_num: 80 is not of"));
  EXPECT_THAT(row_error(h + "size", "x,y,100*100"), HasSubstr("nearest: 96*96"));
  EXPECT_THAT(row_error(h + "size", "x,y,huge"), HasSubstr("'huge' is not a size"));
  EXPECT_THAT(row_error(h + "sample_shift", "x,y,inf"), HasSubstr("sample_shift: inf is not between"));
  EXPECT_THAT(row_error(h + "sample_guide_scale", "x,y,\"3,x\""), HasSubstr("'x' is not a number"));
  EXPECT_THAT(row_error(h + "sample_solver", "x,y,magic"), HasSubstr("there are unipc, dpm++"));
  EXPECT_THAT(row_error(h + "seed", "x,y,-5"), HasSubstr("seed: -5 is not between -1"));
  EXPECT_THAT(row_error(h + "seed", "x,y,99999999999999999999"), HasSubstr("out of range"));
  EXPECT_EQ(row_error("image,prompt", "x"),
            "in/m.csv:2:1: 1 value where the first line names 2 columns; a value that is not given still "
            "needs its comma");
  EXPECT_THAT(row_error("image,prompt", "x,a, b"),
              HasSubstr("3 values where the first line names 2 columns; put"));
  EXPECT_EQ(row_error("image,prompt", "x,"), "in/m.csv:2:1: the prompt is missing");
  EXPECT_EQ(row_error("image,prompt", "x,  "), "in/m.csv:2:3: the prompt is missing");
  EXPECT_EQ(row_error("image,prompt", ",y"), "in/m.csv:2:1: the image is missing");
  EXPECT_EQ(row_error("image,prompt", "x,a\xff"),
            "in/m.csv:2:3: prompt is not UTF-8: byte 0xff at byte 2 of the value; save the file as UTF-8");
  EXPECT_THAT(row_error("image,prompt", "x,a\"b\""),
              StartsWith("in/m.csv:2:4: a quote in the middle of a field"));
  EXPECT_EQ(row_error("image,prompt", std::string("x\0,y", 4)), "in/m.csv:2:1: image contains a NUL byte");
  EXPECT_THAT(row_error("image,prompt", "x," + std::string((1 << 20) + 1, 'a')),
              HasSubstr("at most 1048576"));
  EXPECT_THAT(*parse("image,prompt\nx,y\n", TaskKind::t2v)[0].error, HasSubstr("from text alone"));
}

TEST(Manifest, ARowOfTi2vMayHaveNoImage) {
  const auto rows = parse("image,prompt\ncats/tom.png,a cat\n,a dog\n", TaskKind::ti2v);
  EXPECT_FALSE(rows[0].error || rows[1].error);
  EXPECT_EQ(rows[0].image, "in/cats/tom.png");
  EXPECT_THAT(rows[0].id, StartsWith("tom-"));
  EXPECT_EQ(rows[1].image, "");
  EXPECT_THAT(rows[1].id, StartsWith("a_dog-"));
  EXPECT_EQ(parse("prompt\na dog\n", TaskKind::ti2v)[0].image, "");
}

TEST(Manifest, BadJsonLinesFailAlone) {
  const auto rows = parse(
      "{\"image\":\"x\",\"prompt\":\"ok\"}\n"
      "{\"image\":\"x\",\"prompt\":\n"
      "[1]\n"
      "{\"image\":\"x\",\"prompt\":[\"a\"]}\n"
      "{\"image\":\"x\",\"prompt\":\"a\",\"prompt\":\"b\"}\n"
      "{\"image\":\"x\",\"prompt\":\"a\",\"seed\":true}\n"
      "{\"image\":\"x\",\"prompt\":\"a\",\"seed\":1.5}\n" +
      std::string(200'000, '[') + "\n");
  ASSERT_EQ(rows.size(), 8U);
  EXPECT_EQ(rows[0].error, std::nullopt);
  const auto expect_error = [&](std::size_t row, const std::string& part) {
    EXPECT_THAT(rows[row].error.value_or("no error"), HasSubstr(part));
  };
  expect_error(1, "in/m.csv:2:23: not valid JSON");
  expect_error(2, "in/m.csv:3:1: not a JSON object");
  expect_error(3, "in/m.csv:4:23: prompt is a list or an object");
  expect_error(4, "in/m.csv:5:36: the key 'prompt' is given twice");
  expect_error(5, "in/m.csv:6:34: seed is true");
  expect_error(6, "in/m.csv:7:34: seed: '1.5' is not a whole number");
  expect_error(7, "in/m.csv:8:1: a value is a list or an object");
}

TEST(Manifest, UnsafeIdsFailTheirRow) {
  for (const std::string id :
       {"..", ".hidden", "/etc/passwd", "a/b", "-rf", "run", "trace", "a.failed", "a\x07", "a\\b",
        "CON:", "$(id)", "\xe2\x80\xaegpj", "\xef\xbc\x8f\xe2\x80\xa8"}) {
    const auto rows = parse("id,image,prompt\n\"" + id + "\",x,y\n");
    ASSERT_TRUE(rows[0].error) << id;
    EXPECT_THAT(*rows[0].error, StartsWith("in/m.csv:2:1: id '")) << id;
    EXPECT_EQ(rows[0].error->find('\x07'), std::string::npos);
    EXPECT_NO_THROW(check_id(rows[0].id)) << rows[0].id;
  }
  EXPECT_TRUE(parse("id,image,prompt\n" + std::string(201, 'a') + ",x,y\n")[0].error);
  EXPECT_FALSE(parse("id,image,prompt\n" + std::string(200, 'a') + ",x,y\n")[0].error);
}

TEST(Manifest, ThousandRowsWithTwoHundredBadOnes) {
  std::string text = "image,prompt,sample_steps\n";
  for (int i = 0; i < 1000; ++i) text += i % 5 == 0 ? "x.png,cat,none\n" : fmt::format("{}.png,cat,4\n", i);
  const auto rows = parse(text);
  ASSERT_EQ(rows.size(), 1000U);
  EXPECT_EQ(std::ranges::count_if(rows, [](const ManifestRow& row) { return row.error.has_value(); }), 200);
  EXPECT_THAT(*rows[995].error, StartsWith("in/m.csv:997:11: "));
}

TEST(Manifest, UnreadableFilesAreUsageErrors) {
  const wan::test::TempDir dir;
  const auto load = [&](const std::string& name) {
    return message_of<UsageError>([&] { load_manifest(dir / name, TaskKind::i2v); });
  };
  EXPECT_THAT(load("none.csv"), HasSubstr("No such file"));
  ASSERT_EQ(::mkfifo((dir / "pipe.csv").c_str(), 0600), 0);
  EXPECT_THAT(load("pipe.csv"), HasSubstr("is not a regular file"));
  std::ofstream(dir / "empty.csv").flush();
  EXPECT_THAT(load("empty.csv"), HasSubstr("the manifest is empty"));
  std::ofstream(dir / "huge.csv").flush();
  std::filesystem::resize_file(dir / "huge.csv", max_manifest_bytes + 1);
  EXPECT_THAT(load("huge.csv"), HasSubstr("at most"));
}

TEST(Manifest, PipesAndStandardInputAreRead) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const std::string text = "image,prompt\na.png,cat\n";
  ASSERT_EQ(::write(ends[1], text.data(), text.size()), std::ssize(text));
  ::close(ends[1]);
  const std::filesystem::path path = fmt::format("/dev/fd/{}", ends[0]);
  const auto rows = load_manifest(path, TaskKind::i2v);
  ::close(ends[0]);
  EXPECT_EQ(rows.at(0).image, "a.png") << "in the working directory";
  EXPECT_THAT(message_of<UsageError>([] { load_manifest("/dev/fd/987", TaskKind::i2v); }),
              HasSubstr("give '-'"));
}

TEST(Resolve, RowBeatsCommandLineBeatsDefault) {
  const auto rows = parse("image,prompt,sample_steps,seed\nx,y,3,\nx,z,,\nx,w,,9\nx,v,,-1\n");
  RequestOverrides command_line;
  command_line.sample_steps = 7;
  const TaskDefaults defaults = model::model_kind("i2v-A14B").defaults;
  RunSettings settings;
  settings.base_seed = 100;
  const auto request = [&](std::size_t row) { return resolve(rows[row], command_line, defaults, settings); };
  EXPECT_EQ(request(0).sample_steps, 3);
  EXPECT_EQ(request(1).sample_steps, 7);
  EXPECT_EQ(request(1).frame_num, 81);
  EXPECT_EQ(request(1).seed, 101);
  EXPECT_EQ(request(2).seed, 9);
  EXPECT_EQ(request(3).seed, 103);
  EXPECT_EQ(request(0).negative_prompt, default_negative_prompt());
  settings.base_seed = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(request(1).seed, 0) << "the sum wraps instead of overflowing";
}

TEST(Shard, RowsKeepTheirPlaceInTheWholeManifest) {
  const auto whole = parse("image,prompt\na.png,a\n,b\nc.png,c\nd.png,d\ne.png,e\n");
  std::vector<std::string> ids;
  for (std::int64_t shard = 0; shard < 2; ++shard) {
    auto rows = whole;
    keep_shard(rows, {.index = shard, .count = 2});
    for (const ManifestRow& row : rows) {
      EXPECT_EQ(row.index % 2, shard);
      const ManifestRow& same = whole[static_cast<std::size_t>(row.index)];
      EXPECT_EQ(row.id, same.id);
      EXPECT_EQ(row.line, same.line);
      EXPECT_EQ(row.error.has_value(), row.index == 1) << "a bad row belongs to one shard, like any other";
      ids.push_back(row.id);
    }
  }
  EXPECT_EQ(ids.size(), whole.size());
  auto rows = whole;
  keep_shard(rows, {.index = 5, .count = 6});
  EXPECT_TRUE(rows.empty());
}

TEST(Text, QuotesForTheShell) {
  EXPECT_EQ(shell_quote("a-b_1.png"), "a-b_1.png");
  EXPECT_EQ(shell_quote(""), "''");
  EXPECT_EQ(shell_quote("it's $HOME"), "'it'\\''s $HOME'");
}

TEST(Text, PrintableHidesControlsAndCuts) {
  EXPECT_EQ(printable("caf\xc3\xa9\n\x1b"), "caf\xc3\xa9\\x0a\\x1b");
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "abc"),
            "\\xe2\\x80\\xaeabc")
      << "right-to-left override";
  EXPECT_EQ(printable("abcdef", 3), "abc...");
}

}  // namespace
}  // namespace wan::manifest
