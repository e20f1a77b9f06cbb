#include "text/tokenizer_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

extern "C" {
#include <libavutil/base64.h>
}

#include <array>
#include <ctime>
#include <fstream>
#include <random>

#include "small_tokenizer.h"
#include "text/tokenizer.h"
#include "wan/error.h"

namespace wan::text {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// The message of the UsageError that this tokenizer.json gives; "accepted" if none.
std::string refusal(const std::string& content) {
  const wan::test::TempDir folder;
  std::ofstream(folder / "tokenizer.json", std::ios::binary) << content;
  try {
    const Tokenizer tokenizer(folder.path());
    tokenizer.encode("a b\u00BD<x>");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(TokenizerConfig, MissingFileIsNamed) {
  const wan::test::TempDir folder;
  try {
    const Tokenizer tokenizer(folder.path());
    FAIL() << "no file was needed";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr((folder / "tokenizer.json").string()), HasSubstr("No such file")));
  }
}

TEST(TokenizerConfig, SpieceModelIsNotRead) {
  const wan::test::TempDir folder;
  test::write_tokenizer(folder, test::small_tokenizer());
  write_file_atomically(folder / "spiece.model", "garbage");
  EXPECT_EQ(Tokenizer(folder.path()).vocabulary_size(), 22);
}

struct Malformed {
  const char* pointer;  ///< JSON pointer of the value that is replaced
  nlohmann::json value;
  const char* message;
};

class MalformedConfig : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedConfig, IsRefusedByName) {
  nlohmann::json json = test::small_tokenizer();
  json[nlohmann::json::json_pointer(GetParam().pointer)] = GetParam().value;
  EXPECT_THAT(refusal(json.dump()), AllOf(HasSubstr("tokenizer.json: "), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Values, MalformedConfig,
    testing::Values(
        Malformed{"/model", 5, "model is number, not an object"},
        Malformed{"/model/type", "BPE", "model has type 'BPE'; Unigram is supported"},
        Malformed{"/model/vocab", nlohmann::json::array(), "model.vocab is empty"},
        Malformed{"/model/vocab/3", "x", "model.vocab[3] is string, not an array"},
        Malformed{"/model/vocab/3/0", "", "model.vocab[3] has an empty piece"},
        Malformed{"/model/vocab/3/0", std::string("a\0b", 3),
                  "model.vocab[3] has an empty piece, or one with a NUL"},
        Malformed{"/model/vocab/6/0", "\u2581a",
                  "model.vocab cannot be used: the sentencepiece library refuses it"},
        Malformed{"/model/vocab/6/0", "\u2581a", "\u2581a is already defined"},
        Malformed{"/model/vocab/3/1", "x", "model.vocab[3][1] is not a score"},
        Malformed{"/model/vocab/3/1", 1e300, "model.vocab[3][1] is not a score"},
        Malformed{"/model/unk_id", nullptr, "model.unk_id is not an id between 0 and 9"},
        Malformed{"/model/unk_id", 10, "model.unk_id is not an id between 0 and 9"},
        Malformed{"/model/byte_fallback", 1, "model.byte_fallback is number, not true or false"},
        Malformed{"/added_tokens", nlohmann::json::object(), "added_tokens is object, not an array"},
        Malformed{"/added_tokens/1/id", -1, "added_tokens[1].id is not an id"},
        Malformed{"/added_tokens/1/id", 18446744073709551615ULL, "added_tokens[1].id is not an id"},
        Malformed{"/added_tokens/1/content", "", "added_tokens[1] has an empty 'content'"},
        Malformed{"/added_tokens/1/single_word", true, "added_tokens[1] sets 'single_word'"},
        Malformed{"/normalizer", {{"type", "Lowercase"}}, "normalizer has type 'Lowercase'"},
        Malformed{
            "/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "@@@@"}}, "is not base64"},
        Malformed{"/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAA="}}, "too short"},
        // A trie of one unit whose children would be far outside.
        Malformed{"/normalizer",
                  {{"type", "Precompiled"}, {"precompiled_charsmap", "BAAAAAD///8A"}},
                  "character map of tokenizer.json points to unit"},
        Malformed{"/pre_tokenizer/replacement", "_", "pre_tokenizer has a 'replacement' other than U+2581"},
        Malformed{"/pre_tokenizer/prepend_scheme", "last", "prepend_scheme 'last'"},
        Malformed{"/post_processor", nullptr, "post_processor is null, not an object"},
        Malformed{"/post_processor/single", nlohmann::json::array(), "post_processor.single has no place"},
        Malformed{"/post_processor/special_tokens", nlohmann::json::object(), "has no '</s>'"}));

TEST(TokenizerConfig, VocabularyOfTheUnknownPieceAloneIsRefused) {
  nlohmann::json json = test::small_tokenizer();
  json["model"]["vocab"] = nlohmann::json::parse(R"([["<unk>", 0]])");
  json["model"]["unk_id"] = 0;
  EXPECT_THAT(refusal(json.dump()), HasSubstr("tokenizer.json: model.vocab cannot be used"));
}

nlohmann::json replace_step(const std::string& from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

TEST(TokenizerConfig, ReplacementsThatGrowWithoutBoundAreRefused) {
  nlohmann::json json = test::small_tokenizer();
  const auto with = [&](const std::vector<nlohmann::json>& steps) {
    json["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
    return refusal(json.dump());
  };
  EXPECT_THAT(with(std::vector(30, replace_step("a", "aa"))),
              AllOf(HasSubstr("tokenizer.json: normalizer replaces texts by longer ones"),
                    HasSubstr("1.07e+09 times")));
  EXPECT_THAT(with({replace_step("a", std::string(100'000, 'a'))}), HasSubstr("normalizer replaces texts"));
  EXPECT_THAT(with(std::vector(33, replace_step("a", "b"))), HasSubstr("at most 32 are read"));
  EXPECT_EQ(with(std::vector(6, replace_step("a", "aa"))), "accepted");
}

TEST(TokenizerConfig, ListsBeyondAnyTokenizersAreRefused) {
  nlohmann::json json = test::small_tokenizer();
  const nlohmann::json metaspace = json["pre_tokenizer"];
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", std::vector(33, metaspace)}};
  EXPECT_THAT(refusal(json.dump()), HasSubstr("pre_tokenizer.pretokenizers[32] is step 33"));
  json = test::small_tokenizer();
  json["post_processor"]["special_tokens"]["</s>"]["ids"] = std::vector(17, 1);
  EXPECT_THAT(refusal(json.dump()), HasSubstr("post_processor.single puts 17 special ids around a text"));
  json = test::small_tokenizer();
  for (int i = 0; i < 10'000; ++i)
    json["added_tokens"].push_back({{"id", 30}, {"content", "<" + std::to_string(i) + ">"}});
  EXPECT_THAT(refusal(json.dump()), HasSubstr("added_tokens has 10004 entries"));
}

TEST(TokenizerConfig, PiecesBeyondAnyTokenizersAreRefused) {
  nlohmann::json json = test::small_tokenizer();
  json["model"]["vocab"][3][0] = std::string(1'000'000, 'x');  // overflowed the stack in the library's index
  EXPECT_THAT(refusal(json.dump()), HasSubstr("model.vocab[3] has a piece of 1000000 bytes; at most 1024"));
  json = test::small_tokenizer();
  json["added_tokens"][1]["content"] = std::string(1025, 'x');
  EXPECT_THAT(refusal(json.dump()), HasSubstr("added_tokens[1] has a piece of 1025 bytes"));
}

TEST(TokenizerConfig, LongListsOfObjectsAreReadInTimeThatGrowsWithTheirLength) {
  nlohmann::json json = test::small_tokenizer();
  json["post_processor"]["pair"] = std::vector(200'000, nlohmann::json{{"Sequence", {{"id", "A"}}}});
  const std::string text = json.dump();
  const std::clock_t begin = std::clock();  // of this process: others may take the cores
  EXPECT_EQ(refusal(text), "accepted");
  EXPECT_LT(std::clock() - begin, 4 * CLOCKS_PER_SEC);  // 0.5 s; the parser with a callback: 15 s
}

TEST(TokenizerConfig, PointersAndPagesAreNamed) {
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
              HasSubstr("is a Git LFS pointer"));
  EXPECT_THAT(refusal("<!doctype html><html></html>"), HasSubstr("is an HTML page"));
}

TEST(TokenizerConfig, BrokenJsonIsRefusedWithItsPlace) {
  EXPECT_THAT(refusal(""), HasSubstr("is empty (0 bytes)"));
  EXPECT_THAT(refusal("[]"), HasSubstr("the file is array, not an object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("the file has no 'added_tokens'"));
  EXPECT_THAT(refusal("{\"model\": \"\xFF\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{\n \"model\": 1e999}"),
              AllOf(HasSubstr("not valid JSON: "), HasSubstr("1e999"), Not(HasSubstr("exception"))));
  EXPECT_THAT(refusal("{\n \"model\": NaN}"),
              AllOf(HasSubstr("line 2, column 11"), Not(HasSubstr("exception"))));
  EXPECT_THAT(refusal(std::string(1 << 20, '[')), HasSubstr("nested more than 64 deep"));
  const std::string whole = test::small_tokenizer().dump();
  for (std::size_t size = 1; size < whole.size(); size += 7) {
    EXPECT_THAT(refusal(whole.substr(0, size)), HasSubstr("not valid JSON")) << size;
  }
}

/// The places of every value below `json`.
void collect(const nlohmann::json& json, const nlohmann::json::json_pointer& at,
             std::vector<nlohmann::json::json_pointer>& places) {
  places.push_back(at);
  if (!json.is_structured()) return;
  for (const auto& [key, value] : json.items()) {
    collect(value, json.is_array() ? at / std::stoul(key) : at / key, places);
  }
}

TEST(TokenizerConfig, AnyValueOfAnyTypeInAnyPlaceIsTakenOrRefused) {
  const nlohmann::json good = test::small_tokenizer();
  std::vector<nlohmann::json::json_pointer> places;
  collect(good, nlohmann::json::json_pointer(), places);
  const std::vector<nlohmann::json> values{
      nullptr, true, -1, 1e30, "", "\u2581", nlohmann::json::array(), nlohmann::json::object()};
  int refused = 0;
  for (const auto& place : places) {
    for (const auto& value : values) {
      nlohmann::json json = good;
      json[place] = value;
      refused += refusal(json.dump()) == "accepted" ? 0 : 1;  // anything but UsageError fails the test
    }
  }
  EXPECT_GT(refused, 200);
}

TEST(TokenizerConfig, DamagedCharacterMapNeverReadsOutsideItself) {
  const auto parity =
      nlohmann::json::parse(read_text_file(test::parity_tokenizer() / "tokenizer.json", 1 << 20));
  const auto map = parity.at("normalizer").at("normalizers").at(0);
  std::string letters = map.at("precompiled_charsmap").get<std::string>();
  letters.resize(4096);  // far shorter than its header says
  nlohmann::json json = test::small_tokenizer();
  json["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", letters}};
  EXPECT_THAT(refusal(json.dump()), HasSubstr("declares a trie of"));
  // A trie of 1 KiB with random units.
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string blob("\0\4\0\0", 4);
    for (int k = 0; k < 1024; ++k) blob.push_back(static_cast<char>(random() % 256));
    blob += std::string("x\0y", 3);
    try {
      const CharacterMap damaged(blob);
      for (const char* text : {"a", "\u00BD", "\uFF41\u0301", "plain text"}) damaged.normalize(text);
    } catch (const Error&) {
      continue;  // the test accepts any refusal
    }
  }
}

/// A character map in base64 that replaces the letter "a" by so many letters "z".
std::string map_of_letters(std::size_t letters) {
  constexpr std::size_t units = 512;
  constexpr std::uint32_t children = 256;
  std::array<std::uint32_t, units> trie{};
  trie.at(0) = children << 10U;
  trie.at(children ^ std::uint32_t{'a'}) = children << 10U | 1U << 8U | 'a';  // its child is a value:
  trie.at('a') = 0x80000000U;                                                 // the text at byte 0
  std::string blob;
  const auto append = [&blob](std::uint32_t value) {
    for (unsigned shift = 0; shift < 32; shift += 8)
      blob.push_back(static_cast<char>(value >> shift & 0xFFU));
  };
  append(units * sizeof(std::uint32_t));
  for (const std::uint32_t unit : trie) append(unit);
  blob += std::string(letters, 'z') + '\0';
  std::string base64(AV_BASE64_SIZE(blob.size()), '\0');
  av_base64_encode(base64.data(), static_cast<int>(base64.size()),
                   reinterpret_cast<const std::uint8_t*>(blob.data()), static_cast<int>(blob.size()));
  base64.pop_back();  // the NUL
  return base64;
}

TEST(TokenizerConfig, ReplacementsOfAnyKindAreBoundedBeforeTheyTakeMemory) {
  constexpr std::size_t letters = 3 << 20;
  constexpr std::int64_t most_kib = 64 << 10;
  const nlohmann::json map{{"type", "Precompiled"}, {"precompiled_charsmap", map_of_letters(letters)}};
  const nlohmann::json small_map{{"type", "Precompiled"}, {"precompiled_charsmap", map_of_letters(20)}};
  const nlohmann::json back{{"type", "Replace"}, {"pattern", {{"String", "z"}}}, {"content", "a"}};
  const nlohmann::json steps =
      nlohmann::json::array({small_map, back, small_map, back, small_map, back, small_map});
  const nlohmann::json chain{{"type", "Sequence"}, {"normalizers", steps}};  // 160,000 times as long
  nlohmann::json json = test::small_tokenizer();
  for (const nlohmann::json& normalizer : {map, chain}) {
    json["normalizer"] = normalizer;
    const wan::test::TempDir folder;
    test::write_tokenizer(folder, json);
    const Tokenizer tokenizer(folder.path());
    rusage before{};
    ASSERT_EQ(::getrusage(RUSAGE_SELF, &before), 0);
    try {
      tokenizer.encode(std::string(400, 'a'));
      ADD_FAILURE() << "was not refused";
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr((folder / "tokenizer.json").string()),
                                      HasSubstr("a text of more than 8388608 bytes of one prompt")));
    }
    rusage after{};
    ASSERT_EQ(::getrusage(RUSAGE_SELF, &after), 0);
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, most_kib);
  }
}

}  // namespace
}  // namespace wan::text
