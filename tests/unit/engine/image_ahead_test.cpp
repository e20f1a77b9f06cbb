#include "engine/image_ahead.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "support/plain_picture.h"
#include "support/temp_dir.h"
#include "wan/error.h"

namespace wan::engine {
namespace {

class ImageAheadTest : public testing::Test {
 protected:
  std::filesystem::path picture(const char* name, std::uint32_t colour, PixelSize size = {4, 2}) {
    test::write_picture(dir_ / name, size, colour);
    return dir_ / name;
  }
  test::TempDir dir_;
  ImageAhead ahead_;
};

TEST_F(ImageAheadTest, TheImageThatWasBegunIsThere) {
  const std::filesystem::path file = picture("a.bmp", 1);
  ahead_.begin(file);
  const media::Image image = ahead_.take(file);
  EXPECT_EQ(ahead_.hits(), 1);
  EXPECT_EQ(image.rgb, media::read_image(file).rgb);
  EXPECT_EQ(ahead_.take(file).rgb, image.rgb) << "it is read again the next time";
  EXPECT_EQ(ahead_.hits(), 1);
}

TEST_F(ImageAheadTest, AnotherImageIsReadWhenItIsAskedFor) {
  ahead_.begin(picture("a.bmp", 1));
  const std::filesystem::path other = picture("b.bmp", 2);
  EXPECT_EQ(ahead_.take(other).rgb, media::read_image(other).rgb);
  EXPECT_EQ(ahead_.hits(), 0);
}

TEST_F(ImageAheadTest, AFileThatChangedSinceIsReadAgain) {
  const std::filesystem::path file = picture("a.bmp", 1);
  ahead_.begin(file);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // so that the thread has seen the first one
  picture("a.bmp", 2, {8, 6});
  EXPECT_EQ(ahead_.take(file).width, 8);
}

TEST_F(ImageAheadTest, AFileThatIsNotThereOrNoImageFailsWhenItIsAskedFor) {
  ahead_.begin(dir_ / "none.bmp");
  EXPECT_THROW(ahead_.take(dir_ / "none.bmp"), ItemError);
  const std::filesystem::path file = picture("a.bmp", 1);
  std::filesystem::resize_file(file, 20);
  ahead_.begin(file);
  EXPECT_THROW(ahead_.take(file), ItemError);
  EXPECT_EQ(ahead_.hits(), 0);
}

}  // namespace
}  // namespace wan::engine
