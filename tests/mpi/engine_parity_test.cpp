#include <gtest/gtest.h>

#include "mpi/engine_fixture.h"
#include "mpi/lent_communicator.h"

namespace wan {
namespace {

using test::Backend;

constexpr double reference_tolerance = 1e-4;  // compared with the official code's numbers
constexpr double layout_tolerance = 1e-5;     // compared with one rank of this program

std::int64_t heads_of(const checkpoint::CheckpointFolder& folder) {
  return engine::open_expert(folder.experts.front().path).config.num_heads;
}

class ParityCases : public testing::TestWithParam<const char*> {};

TEST_P(ParityCases, EveryLayoutGivesTheReferencesNumbers) {
  test::RankWorld ranks;
  const test::ParityCase parity = test::load_parity_case(GetParam());
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  const std::int64_t heads = heads_of(folder);
  if (test::shapes_of(ranks.size(), heads).empty()) {
    GTEST_SKIP() << heads << " heads over " << ranks.size() << " ranks";
  }
  const test::Made alone = test::make_alone(folder, parity.request);
  test::in_every_layout(ranks, folder, parity.request, {}, [&](const test::Made& made) {
    EXPECT_LT(test::relative_error(made.latent, parity.final_latent()), reference_tolerance);
    if (parity.has("frames")) {
      EXPECT_LT(test::fraction_off_by_more_than_one(made.frames, parity.tensor("frames")), 1e-3);
    }
    EXPECT_LT(test::relative_error(made.latent, alone.latent), layout_tolerance);
  });
}

INSTANTIATE_TEST_SUITE_P(Reference, ParityCases,
                         testing::Values("i2v_landscape", "i2v_portrait_ragged", "t2v_square", "wan21_t2v",
                                         "wan21_i2v", "ti2v_image", "ti2v_text"));

/// Requests with properties that the reference cases lack: no guidance, guidance in one expert only, Euler,
/// heads in two exchanges, a token count that no rank count divides, more ranks than latent rows.
struct Variant {
  const char* name;
  void (*change)(Request&);
  parallel::HeadChunkWish head_chunks = {};
};

class Variants : public testing::TestWithParam<Variant> {};

/// Runs the variant of a case on every layout. Returns the number of layouts.
int run_variant(test::RankWorld& ranks, const Variant& variant, const char* case_name) {
  test::ParityCase parity = test::load_parity_case(case_name);
  Request request = parity.request;
  request.sample_steps = 4;
  request.frame_num = 5;
  variant.change(request);
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  const std::int64_t heads = heads_of(folder);
  const test::Made alone = test::make_alone(folder, request);
  int layouts = 0;
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), heads)) {
    if (!variant.head_chunks.fits(heads, shape.ulysses)) continue;
    SCOPED_TRACE(case_name + (" " + parallel::describe(shape)));
    ++layouts;
    const Stopwatch clock;
    engine::WanEngine engine(folder, {.placement = test::all_sharded, .head_chunks = variant.head_chunks},
                             ranks.communicators(shape, Backend::deferred, heads), clock);
    const test::Made made = test::make(engine, request);
    if (ranks.rank() != 0) continue;
    EXPECT_LT(test::relative_error(made.latent, alone.latent), layout_tolerance);
    EXPECT_LT(test::fraction_off_by_more_than_one(made.frames, alone.frames), 1e-3);
  }
  return layouts;
}

TEST_P(Variants, EveryLayoutGivesTheOneRankResult) {
  test::RankWorld ranks;
  int layouts = 0;
  for (const char* case_name : {"i2v_landscape", "i2v_portrait_ragged"})
    layouts += run_variant(ranks, GetParam(), case_name);
  if (layouts == 0) GTEST_SKIP() << "no layout of " << ranks.size() << " ranks fits";
}

INSTANTIATE_TEST_SUITE_P(Requests, Variants,
                         testing::Values(Variant{"unguided",
                                                 [](Request& r) {
                                                   r.guide_scale = {1, 1};
                                                 }},
                                         Variant{"guided_low_only",
                                                 [](Request& r) {
                                                   r.guide_scale = {3, 1};
                                                 }},
                                         Variant{"euler", [](Request& r) { r.solver = Solver::euler; }},
                                         Variant{"two_head_chunks", [](Request&) {}, {.count = 2}},
                                         Variant{"listed_head_chunks", [](Request&) {}, {.sizes = {1, 1}}},
                                         Variant{"odd_tokens",
                                                 [](Request& r) {
                                                   r.size = {112, 48};
                                                 }},
                                         Variant{"few_rows",
                                                 [](Request& r) {
                                                   r.size = {32, 32};
                                                 }}),
                         [](const testing::TestParamInfo<Variant>& variant) { return variant.param.name; });

TEST(TextCache, EachDistinctTextIsEncodedOnce) {
  const test::ParityCase parity = test::load_parity_case("t2v_square");
  Request request = parity.request;
  request.sample_steps = 1;
  const Stopwatch clock;
  engine::WanEngine engine(checkpoint::inspect_checkpoint(parity.folder / "ckpt"), {},
                           test::lone_communicators(), clock);
  test::make(engine, request);
  EXPECT_EQ(engine.encoded_texts(), 2);  // prompt and negative prompt
  test::make(engine, request);
  request.prompt = "  " + request.prompt + "  ";  // the same after cleaning
  test::make(engine, request);
  EXPECT_EQ(engine.encoded_texts(), 2);
  request.prompt += " more";
  test::make(engine, request);
  EXPECT_EQ(engine.encoded_texts(), 3);
}

TEST(ItemErrors, AreThrownOnEveryRankAndLeaveTheEngineUsable) {
  test::RankWorld ranks;
  const test::ParityCase parity =
      test::load_parity_case(ranks.size() == 3 ? "i2v_portrait_ragged" : "i2v_landscape");
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  const comm::GridShape shape = test::shapes_of(ranks.size(), heads_of(folder)).front();
  const Stopwatch clock;
  engine::WanEngine engine(folder, {}, ranks.communicators(shape, Backend::mpi, heads_of(folder)), clock);
  test::SilentObserver observer;
  test::NoControl control;
  Request bad = parity.request;
  bad.image = "/nonexistent/image.png";
  const test::TempDir out;
  EXPECT_THROW(engine.run(bad, {.video = out / "v.mp4", .latents = {}}, observer, control, {}), ItemError);
  Request unwritable = parity.request;
  unwritable.sample_steps = 1;
  EXPECT_THROW(engine.run(unwritable, {.video = "/proc/nowhere/v.mp4", .latents = {}}, observer, control, {}),
               ItemError);
  const test::Made made = test::make(engine, parity.request);
  if (ranks.rank() == 0) {
    EXPECT_LT(test::relative_error(made.latent, parity.final_latent()), reference_tolerance);
  }
}

/// As the tests on GPUs do, which connect once for each layout.
TEST(LentCommunicators, ServeOneEngineAfterTheOther) {
  test::RankWorld ranks;
  const test::Toy toy("i2v_landscape", 2);
  const Stopwatch clock;
  for (const comm::GridShape& shape : test::shapes_of(ranks.size(), toy.heads)) {
    const auto make = [&](const parallel::WeightPlacement& placement, parallel::GroupCommunicators group) {
      engine::WanEngine engine(toy.folder, {.placement = placement}, std::move(group), clock);
      return test::make(engine, toy.request());
    };
    const auto own = [&] { return ranks.communicators(shape, Backend::deferred, toy.heads); };
    const auto lender = std::make_shared<parallel::GroupCommunicators>(own());
    for (const auto& placement :
         {parallel::WeightPlacement(), test::all_sharded, parallel::WeightPlacement()}) {
      SCOPED_TRACE(parallel::describe(shape));
      const test::Made expected = make(placement, own());
      const std::uint64_t sent_before = lender->sent_bytes();
      const test::Made made = make(placement, test::lend(lender));
      EXPECT_EQ(lender->sent_bytes() > sent_before, ranks.size() > 1);
      if (ranks.rank() != 0) continue;
      EXPECT_TRUE(at::equal(made.latent, expected.latent));
      EXPECT_TRUE(at::equal(made.frames, expected.frames));
    }
  }
}

}  // namespace
}  // namespace wan
