// Replaces libFuzzer if the compiler lacks it. It runs the entry point on every file of the given folders,
// and on a number of changed copies of each. The changes depend only on a file's bytes, so every run is the
// same.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

Bytes read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Makes one of the changes that find most errors: a bit, a byte at a bound, a number, a cut, a repeated
/// piece, a removed piece.
void change(Bytes& bytes, std::mt19937& random) {
  if (bytes.empty()) return;
  const std::size_t at = random() % bytes.size();
  const std::size_t length = std::min<std::size_t>(1 + random() % 16, bytes.size() - at);
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  const auto end = begin + static_cast<std::ptrdiff_t>(length);
  switch (random() % 6) {
    case 0:
      *begin ^= static_cast<std::uint8_t>(1U << (random() % 8));
      break;
    case 1: {
      constexpr std::uint8_t bounds[]{0, 1, 0x7F, 0x80, 0xFF, '"', '{', '\n', '9'};
      *begin = bounds[random() % std::size(bounds)];
      break;
    }
    case 2:
      std::generate(begin, end, [&] { return static_cast<std::uint8_t>(random()); });
      break;
    case 3:
      bytes.resize(at);
      break;
    case 4: {
      const Bytes piece(begin, end);
      bytes.insert(begin, piece.begin(), piece.end());
      break;
    }
    default:
      bytes.erase(begin, end);
  }
}

void run(const Bytes& bytes) { LLVMFuzzerTestOneInput(bytes.data(), bytes.size()); }

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s CHANGED_COPIES FOLDER...\n", argv[0]);
    return EXIT_FAILURE;
  }
  const int copies = std::atoi(argv[1]);
  int inputs = 0;
  for (int i = 2; i < argc; ++i) {
    for (const std::filesystem::path& path : files_in(argv[i])) {
      const Bytes whole = read(path);
      // if the program crashes, the last name printed is the file that caused it
      std::fprintf(stderr, "%s\n", path.c_str());
      run(whole);
      std::mt19937 random(static_cast<unsigned>(whole.size()));
      for (int copy = 0; copy < copies; ++copy) {
        Bytes changed = whole;
        const unsigned changes = 1 + random() % 4;
        for (unsigned k = 0; k < changes; ++k) change(changed, random);
        run(changed);
      }
      inputs += 1 + copies;
    }
  }
  std::fprintf(stderr, "%d inputs\n", inputs);
  return inputs > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
