// An untrusted .pth file: zip directory, pickle, views of storages, elements.
#include "memory_file.h"
#include "read_checkpoint.h"
#include "wan/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const wan::fuzz::MemoryFile file(bytes, size);
  try {
    wan::fuzz::read_some(wan::checkpoint::Checkpoint::open_torch_archive(file.path()));
  } catch (const wan::Error&) {
    return 0;  // refused with a message, as expected
  }
  return 0;
}
