#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "small_tokenizer.h"
#include "wan/error.h"

namespace wan::text {
namespace {

using Ids = std::vector<std::int64_t>;

/// Ids of `text` from the small tokenizer with `change` applied to its JSON.
template <typename Change>
Ids encode_with(Change change, std::string_view text) {
  const wan::test::TempDir folder;
  nlohmann::json json = test::small_tokenizer();
  change(json);
  test::write_tokenizer(folder, json);
  return Tokenizer(folder.path()).encode(text);
}

constexpr auto unchanged = [](nlohmann::json&) {};

TEST(Tokenizer, EmptyTextIsTheEndAlone) {
  const Tokenizer tokenizer(test::parity_tokenizer());
  EXPECT_EQ(tokenizer.encode(""), Ids{1});
  EXPECT_EQ(tokenizer.vocabulary_size(), 515);
}

TEST(Tokenizer, LongTextLosesItsEndNotItsLastId) {
  const Tokenizer tokenizer(test::parity_tokenizer());
  std::string text;
  for (int i = 0; i < 600; ++i) text += "camera ";
  const Ids ids = tokenizer.encode(text);
  ASSERT_EQ(ids.size(), 512U);
  EXPECT_EQ(ids.back(), 1);
  const Ids whole = tokenizer.encode(text, 100000);
  EXPECT_GT(whole.size(), 600U);
  EXPECT_TRUE(std::equal(ids.begin(), ids.end() - 1, whole.begin()));
  EXPECT_EQ(tokenizer.encode(text, 1), Ids{1});
  EXPECT_THROW(tokenizer.encode(text, 0), Error);
}

TEST(Tokenizer, AddedTokensAreFoundLongestFirstAndTextBetweenStartsAnew) {
  EXPECT_EQ(encode_with(unchanged, "a<x>a"), (Ids{4, 20, 4, 1}));
  EXPECT_EQ(encode_with(unchanged, "a<x>ya"), (Ids{4, 21, 4, 1}));
  EXPECT_EQ(encode_with(unchanged, "</s><pad>"), (Ids{1, 0, 1}));
  const Tokenizer parity(test::parity_tokenizer());
  EXPECT_EQ(parity.encode("<extra_id_0><extra_id_9>"), (Ids{514, 505, 1}));
}

TEST(Tokenizer, AddedTokensMayTakeTheSpaceBesideThem) {
  const auto both = [](nlohmann::json& json) {
    json["added_tokens"][2]["lstrip"] = true;
    json["added_tokens"][2]["rstrip"] = true;
  };
  EXPECT_EQ(encode_with(unchanged, "a <x> a"), (Ids{4, 3, 20, 4, 1}));
  EXPECT_EQ(encode_with(both, "a <x> a"), (Ids{4, 20, 4, 1}));
}

TEST(Tokenizer, NormalizedAddedTokensAreFoundAfterTheReplacements) {
  const auto change = [](nlohmann::json& json) {
    json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "["}}}, {"content", "<"}};
    json["added_tokens"][2]["normalized"] = true;
  };
  EXPECT_EQ(encode_with(change, "a[x>a"), (Ids{4, 20, 4, 1}));
}

TEST(Tokenizer, PrefixFollowsTheScheme) {
  const auto scheme = [](const char* name) {
    return [name](nlohmann::json& json) { json["pre_tokenizer"]["prepend_scheme"] = name; };
  };
  EXPECT_EQ(encode_with(scheme("first"), "a<x>a a"), (Ids{4, 20, 5, 4, 1}));
  EXPECT_EQ(encode_with(scheme("never"), "a<x>a a"), (Ids{5, 20, 5, 4, 1}));
  const auto split_first = [](nlohmann::json& json) {
    json["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "WhitespaceSplit"}},
          {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"add_prefix_space", true}}}}};
  };
  EXPECT_EQ(encode_with(split_first, "a  ab a"), (Ids{4, 3, 7, 4, 1}));
}

TEST(Tokenizer, UnknownCharactersOfAWordAreOneId) {
  EXPECT_EQ(encode_with(unchanged, "a中文字b 中"), (Ids{4, 2, 6, 3, 2, 1}));
}

TEST(Tokenizer, ByteFallbackNeedsAllTheBytes) {
  const auto fallback = [](nlohmann::json& json) { json["model"]["byte_fallback"] = true; };
  EXPECT_EQ(encode_with(unchanged, "a\u00E9"), (Ids{4, 2, 1})) << "off: byte pieces are not used";
  EXPECT_EQ(encode_with(fallback, "a\u00E9"), (Ids{4, 8, 9, 1}));
  EXPECT_EQ(encode_with(fallback, "a\u00E8"), (Ids{4, 2, 1})) << "one of its bytes has no piece";
}

TEST(Tokenizer, WrittenOutBytePieceIsAPiece) {
  EXPECT_EQ(encode_with(unchanged, "a<0xC3>a"), (Ids{4, 8, 5, 1}));
}

TEST(Tokenizer, OfEqualScoresTheFirstFoundStays) {
  // "o" + "oo" and "oo" + "o" have the same score. The search meets the one whose last piece begins earlier
  // first.
  const auto change = [](nlohmann::json& json) {
    json["model"]["vocab"] = nlohmann::json::parse(
        R"([["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["\u2581", -1], ["o", -2], ["oo", -2]])");
  };
  EXPECT_EQ(encode_with(change, "ooo"), (Ids{3, 4, 5, 1}));
}

TEST(Tokenizer, RunsOfSpacesAndTheEndAreNormalized) {
  const Tokenizer tokenizer(test::parity_tokenizer());
  EXPECT_EQ(tokenizer.encode("camera   camera  "), tokenizer.encode("camera camera"));
}

TEST(Tokenizer, CombiningMarkOnAMappedCharacterGoesAsInTheReference) {
  // The reference replaces the whole cluster of up to five bytes by the replacement of its beginning.
  const Tokenizer tokenizer(test::parity_tokenizer());
  EXPECT_EQ(tokenizer.encode("\uFF41\u0301"), tokenizer.encode("a"));
}

TEST(Tokenizer, AnyBytesGiveIdsWithinTheVocabulary) {
  const Tokenizer tokenizer(test::parity_tokenizer());
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string text(random() % 200, '\0');
    for (char& c : text) c = static_cast<char>(random() % 256);
    const Ids ids = tokenizer.encode(text, 64);
    ASSERT_LE(ids.size(), 64U);
    ASSERT_EQ(ids.back(), 1);
    for (const std::int64_t id : ids) ASSERT_TRUE(id >= 0 && id < tokenizer.vocabulary_size());
  }
}

}  // namespace
}  // namespace wan::text
