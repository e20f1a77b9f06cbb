// An untrusted image file, up to a size that decodes quickly.
#include <cstdlib>

#include "media/image.h"
#include "memory_file.h"
#include "wan/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const wan::fuzz::MemoryFile file(bytes, size);
  try {
    const wan::media::Image image = wan::media::read_image(file.path(), {.pixels = 1 << 20});
    const std::size_t pixels = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
    if (image.rgb.size() != 3 * pixels) std::abort();
  } catch (const wan::ItemError&) {
    return 0;  // refused with a message, as expected
  }
  return 0;
}
