// An untrusted .safetensors file: header, ranges, elements.
#include "memory_file.h"
#include "read_checkpoint.h"
#include "wan/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const wan::fuzz::MemoryFile file(bytes, size);
  try {
    wan::fuzz::read_some(wan::checkpoint::Checkpoint::open_safetensors_file(file.path()));
  } catch (const wan::Error&) {
    return 0;  // refused with a message, as expected
  }
  return 0;
}
