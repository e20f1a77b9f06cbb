#include "checkpoint/kept_bytes.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace wan::checkpoint {
namespace {

/// A file whose byte at each place is the place.
std::vector<std::byte> content(std::uint64_t offset, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((offset + i) % 251);
  return bytes;
}

void put(KeptBytes& kept, std::uint64_t offset, std::size_t size) {
  kept.put(1, offset, content(offset, size));
}

bool has(const KeptBytes& kept, std::uint64_t offset, std::size_t size, int file = 1) {
  std::vector<std::byte> out(size);
  if (!kept.get(file, offset, out)) return false;
  EXPECT_EQ(out, content(offset, size)) << offset;
  return true;
}

TEST(KeptBytes, GivesAnyRangeOfWhatItKeeps) {
  KeptBytes kept(1000);
  put(kept, 100, 50);
  put(kept, 150, 50);
  EXPECT_TRUE(has(kept, 100, 100));
  EXPECT_TRUE(has(kept, 120, 60)) << "over the seam";
  EXPECT_TRUE(has(kept, 149, 1));
  EXPECT_TRUE(has(kept, 170, 0));
  EXPECT_FALSE(has(kept, 99, 2));
  EXPECT_FALSE(has(kept, 199, 2));
  EXPECT_FALSE(has(kept, 100, 50, /*file=*/2));
}

TEST(KeptBytes, KeepsNoByteTwice) {
  KeptBytes kept(1000);
  put(kept, 10, 10);
  put(kept, 30, 10);
  put(kept, 0, 50);  // the gaps before, between and behind
  EXPECT_EQ(kept.bytes(), 50U);
  put(kept, 5, 30);
  EXPECT_EQ(kept.bytes(), 50U);
  EXPECT_TRUE(has(kept, 0, 50));
}

TEST(KeptBytes, KeepsNoMoreThanItMay) {
  KeptBytes kept(60);
  put(kept, 0, 40);
  put(kept, 100, 40);
  EXPECT_EQ(kept.bytes(), 40U);
  EXPECT_FALSE(has(kept, 100, 40));
  put(kept, 30, 30);
  EXPECT_EQ(kept.bytes(), 60U);
  EXPECT_TRUE(has(kept, 0, 60));
}

TEST(KeptBytes, ServesSeveralThreads) {
  KeptBytes kept(16'000);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint64_t offset = 0; offset < 4000; offset += 100)
        put(kept, (offset + 1000 * static_cast<std::uint64_t>(thread)) % 4000, 100);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(kept.bytes(), 4000U);
  EXPECT_TRUE(has(kept, 0, 4000));
}

}  // namespace
}  // namespace wan::checkpoint
