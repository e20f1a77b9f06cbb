// Items with equal images encode theirs once.
#include <gtest/gtest.h>

#include <filesystem>

#include "mpi/engine_fixture.h"
#include "support/plain_picture.h"

namespace wan {
namespace {

class EqualImages : public testing::Test {
 protected:
  engine::WanEngine make_engine() {
    const comm::GridShape shape = test::shapes_of(ranks_.size(), toy_.heads).front();
    return {toy_.folder,
            {.placement = test::all_sharded},
            ranks_.communicators(shape, test::Backend::mpi, toy_.heads),
            clock_};
  }
  /// The request, and how many exchanges of rows between the ranks it took: encoding takes some, and
  /// decoding.
  std::uint64_t exchanges_for(engine::WanEngine& engine, const Request& request, test::Made& made) {
    const auto calls = [&] {
      return engine.communicators().vae->traffic().calls[static_cast<std::size_t>(comm::Operation::exchange)];
    };
    const std::uint64_t before = calls();
    made = test::make(engine, request);
    return calls() - before;
  }
  void expect_equal(const test::Made& made, const test::Made& expected) const {
    if (ranks_.rank() != 0) return;
    EXPECT_TRUE(at::equal(made.latent, expected.latent));
    EXPECT_TRUE(at::equal(made.frames, expected.frames));
  }

  test::RankWorld ranks_;
  test::Toy toy_{"i2v_landscape", 1};
  Stopwatch clock_;
};

TEST_F(EqualImages, AreEncodedOnceAndGiveTheSameBits) {
  const test::SharedFolder folder(ranks_);
  engine::WanEngine engine = make_engine();
  Request copy = toy_.request();
  copy.image = folder / "copy.png";
  Request other = toy_.request();
  other.image = folder / "other.bmp";
  if (ranks_.rank() == 0) {
    std::filesystem::copy_file(toy_.request().image, copy.image);
    test::write_picture(other.image, {.width = 96, .height = 64}, 0x808080);
  }
  ranks_.world().barrier().wait();

  test::Made first;
  test::Made made;
  const std::uint64_t with_encoding = exchanges_for(engine, toy_.request(), first);
  const std::uint64_t decoding = exchanges_for(engine, copy, made);
  expect_equal(made, first);
  if (ranks_.size() > 1) {
    EXPECT_LT(decoding, with_encoding) << "the same pixels under another name are not encoded again";
  }

  EXPECT_EQ(exchanges_for(engine, other, made), with_encoding) << "another image is encoded";
  EXPECT_EQ(exchanges_for(engine, other, made), decoding);
  Request longer = toy_.request();
  longer.frame_num += 4;
  const std::uint64_t longer_encoded = exchanges_for(engine, longer, made);
  const std::uint64_t longer_known = exchanges_for(engine, longer, made);
  if (ranks_.size() > 1) {
    EXPECT_LT(longer_known, longer_encoded) << "another number of frames is another condition";
  }
  EXPECT_EQ(exchanges_for(engine, toy_.request(), made), decoding) << "the first one is still known";
  expect_equal(made, first);
}

TEST(EqualImagesOfWan21, AreEncodedByClipOnce) {
  test::RankWorld ranks;
  const test::Toy toy("wan21_i2v", 1);
  const test::SharedFolder folder(ranks);
  const Stopwatch clock;
  parallel::WeightPlacement placement = test::all_sharded;
  placement.text_encoder.residence = parallel::Residence::read_when_needed;
  const comm::GridShape shape = test::shapes_of(ranks.size(), toy.heads).front();
  engine::WanEngine engine(toy.folder, {.placement = placement},
                           ranks.communicators(shape, test::Backend::mpi, toy.heads), clock);
  EXPECT_EQ(engine.image_encoder_loads(), 0) << "CLIP is read when an image comes";
  const test::Made first = test::make(engine, toy.request());
  Request longer = toy.request();
  longer.frame_num += 4;  // another condition, but the same features
  test::make(engine, longer);
  const test::Made again = test::make(engine, toy.request());
  EXPECT_EQ(engine.image_encoder_loads(), 1);
  Request other = toy.request();
  other.image = folder / "other.bmp";
  if (ranks.rank() == 0) test::write_picture(other.image, {.width = 96, .height = 64}, 0x808080);
  ranks.world().barrier().wait();
  test::make(engine, other);
  EXPECT_EQ(engine.image_encoder_loads(), 2);
  if (ranks.rank() != 0) return;
  EXPECT_TRUE(at::equal(first.latent, again.latent));
}

}  // namespace
}  // namespace wan
