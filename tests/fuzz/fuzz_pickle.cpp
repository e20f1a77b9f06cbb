// An untrusted data.pkl.
#include <string_view>

#include "checkpoint/pickle.h"
#include "wan/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  try {
    wan::checkpoint::read_pickled_state_dict({reinterpret_cast<const char*>(bytes), size}, "input");
  } catch (const wan::UsageError&) {
    return 0;  // refused with a message, as expected
  }
  return 0;
}
