#include "engine/text_look_ahead.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "checkpoint/checkpoint.h"
#include "comm/local.h"
#include "engine/model_parts.h"
#include "engine/prompt_encoder.h"
#include "support/parity_case.h"

namespace wan::engine {
namespace {

using testing::ElementsAre;

/// A manifest, and groups that take its rows one by one, as in a run. Each group has a text encoder whose
/// weights come and go.
class Batch {
 public:
  explicit Batch(std::vector<Request> requests, int groups = 1)
      : requests_(std::move(requests)), is_settled_(requests_.size(), false) {
    for (int group = 0; group < groups; ++group) {
      stages_.push_back(std::make_unique<PromptEncoder>(
          folder_.tokenizer, text_encoder_model(files_),
          EncoderOptions{.placement = {.residence = parallel::Residence::read_when_needed}}, *local_));
    }
    made_.resize(static_cast<std::size_t>(groups));
  }

  /// As after an earlier run.
  void settle(std::size_t row) { is_settled_[row] = true; }

  /// The groups take turns in no order.
  void run() {
    std::mt19937 random(7);
    for (std::size_t row = 0; row < requests_.size(); ++row)
      if (!is_settled_[row]) make(row, random() % stages_.size());
  }

  /// At most one loading for each 64 distinct texts that a group has made.
  void expect_few_loads() const {
    for (std::size_t group = 0; group < stages_.size(); ++group) {
      const auto texts = static_cast<std::int64_t>(made_[group].size());
      EXPECT_LE(stages_[group]->loads(), (texts + 63) / 64) << texts << " texts of group " << group;
      EXPECT_GE(stages_[group]->loads(), 1);
    }
  }

  std::int64_t encoded_texts() const { return stages_.front()->encoded_texts(); }

 private:
  void make(std::size_t row, std::size_t group) {
    is_settled_[row] = true;
    PromptEncoder& stage = *stages_[group];
    const Request& request = requests_[row];
    const std::vector<std::string> texts = cleaned_texts(request);
    std::vector<std::string> ahead;
    if (stage.has_to_load(texts)) {
      const auto upcoming = [&](const Request& /*now*/, const std::function<bool(const Request&)>& visit) {
        for (std::size_t next = row + 1; next < requests_.size(); ++next)
          if (!is_settled_[next] && !visit(requests_[next])) return;
      };
      ahead = texts_to_come(upcoming, request, texts_ahead(static_cast<int>(stages_.size())));
    }
    stage.load_for(texts);
    stage.reserve_for(texts);
    const std::vector<at::Tensor> embeddings = stage.encode(texts, ahead);
    ASSERT_EQ(embeddings.size(), texts.size());
    made_[group].insert(texts.begin(), texts.end());
  }

  checkpoint::CheckpointFolder folder_ =
      checkpoint::inspect_checkpoint(test::load_parity_case("i2v_landscape").folder / "ckpt");
  checkpoint::Checkpoint files_ = checkpoint::Checkpoint::open_torch_archive(folder_.text_encoder);
  std::unique_ptr<comm::Communicator> local_ = comm::make_local("group");
  std::vector<std::unique_ptr<PromptEncoder>> stages_;
  std::vector<Request> requests_;
  std::vector<bool> is_settled_;
  std::vector<std::set<std::string>> made_;  ///< texts, by group
};

std::vector<Request> requests(int count, bool own_negatives = false) {
  std::vector<Request> all(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    Request& request = all[static_cast<std::size_t>(i)];
    request.id = "row" + std::to_string(i);
    request.prompt = "a cat " + std::to_string(i);
    request.negative_prompt = own_negatives ? "dull " + std::to_string(i) : "dull";
    request.guide_scale = {3.5, 3.5};
  }
  return all;
}

TEST(TextLoads, OfTwoHundredPrompts) {
  Batch batch(requests(200));
  batch.run();
  batch.expect_few_loads();
  EXPECT_EQ(batch.encoded_texts(), 201) << "each once";
}

TEST(TextLoads, OfNegativePromptsPerRow) {
  Batch batch(requests(100, /*own_negatives=*/true));
  batch.run();
  batch.expect_few_loads();
  EXPECT_EQ(batch.encoded_texts(), 200);
}

TEST(TextLoads, OfSeveralGroups) {
  for (const int groups : {2, 3}) {
    Batch batch(requests(400), groups);
    batch.run();
    batch.expect_few_loads();
  }
}

TEST(TextLoads, OfARunThatGoesOn) {
  // Items that an earlier run has done are not encoded again.
  Batch batch(requests(200));
  for (std::size_t row = 0; row < 200; ++row)
    if (row < 90 || row % 2 == 0) batch.settle(row);
  batch.run();
  batch.expect_few_loads();
  EXPECT_EQ(batch.encoded_texts(), 55 + 1);
}

TEST(TextLoads, OfManySeedsForEachPrompt) {
  std::vector<Request> all = requests(400);
  for (std::size_t row = 0; row < all.size(); ++row) all[row].prompt = "a cat " + std::to_string(row / 8);
  Batch batch(all);
  batch.run();
  batch.expect_few_loads();
  EXPECT_EQ(batch.encoded_texts(), 51);
}

TEST(TextLoads, OfPromptsThatComeBackLater) {
  std::vector<Request> all = requests(300);
  for (std::size_t row = 0; row < all.size(); ++row) all[row].prompt = "a cat " + std::to_string(row % 100);
  Batch batch(all);
  batch.run();
  batch.expect_few_loads();
  EXPECT_EQ(batch.encoded_texts(), 101);
}

TEST(TextLookAhead, TakesDistinctTextsUpToTheLimit) {
  std::vector<Request> all = requests(5);
  all[1].prompt = all[0].prompt;
  all[2].prompt = "   ";  // fails when it comes
  all[3].guide_scale = {1, 1};
  all[3].negative_prompt = "not needed without guidance";
  const auto upcoming = [&](const Request& /*now*/, const std::function<bool(const Request&)>& visit) {
    for (const Request& request : all)
      if (!visit(request)) return;
  };
  EXPECT_THAT(texts_to_come(upcoming, all[0], 10), ElementsAre("a cat 0", "dull", "a cat 3", "a cat 4"));
  EXPECT_THAT(texts_to_come(upcoming, all[0], 3), ElementsAre("a cat 0", "dull", "a cat 3"));
  EXPECT_TRUE(texts_to_come({}, all[0], 10).empty());
}

TEST(TextLookAhead, WhatIsFoundBeforeAnErrorIsAsGood) {
  const std::vector<Request> all = requests(2);
  const auto upcoming = [&](const Request& /*now*/, const std::function<bool(const Request&)>& visit) {
    visit(all[0]);
    throw std::runtime_error("the file system is away");
  };
  EXPECT_THAT(texts_to_come(upcoming, all[1], 10), ElementsAre("a cat 0", "dull"));
}

TEST(TextLookAhead, TextsTravelAsTheyAre) {
  const auto alone = comm::make_local("group");
  const std::vector<std::string> texts{"a cat", "", std::string("zero \0 inside", 13), "\u732b"};
  EXPECT_EQ(broadcast_texts(*alone, 0, texts), texts);
  EXPECT_TRUE(broadcast_texts(*alone, 0, {}).empty());
}

}  // namespace
}  // namespace wan::engine
