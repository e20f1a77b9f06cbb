#include "checkpoint/kept_bytes.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <vector>

namespace wan::checkpoint {

KeptBytes::Ranges::const_iterator KeptBytes::first_behind(int file, std::uint64_t offset) const {
  const auto after = ranges_.upper_bound({file, offset});
  if (after == ranges_.begin()) return after;
  const auto before = std::prev(after);
  const auto& [of_file, begin] = before->first;
  return of_file == file && begin + before->second.size > offset ? before : after;
}

bool KeptBytes::get(int file, std::uint64_t offset, std::span<std::byte> out) const {
  std::vector<std::span<const std::byte>> parts;
  std::uint64_t at = offset;
  const std::uint64_t end = offset + out.size();
  {
    const std::scoped_lock lock(mutex_);
    for (auto range = first_behind(file, at); at < end; ++range) {
      if (range == ranges_.end() || range->first.first != file || range->first.second > at) return false;
      const std::uint64_t skipped = at - range->first.second;
      const std::uint64_t size = std::min(range->second.size - skipped, end - at);
      parts.emplace_back(range->second.bytes.get() + skipped, size);
      at += size;
    }
  }
  auto to = out.begin();
  for (const std::span<const std::byte> part : parts) to = std::ranges::copy(part, to).out;
  return true;
}

std::vector<KeptBytes::Gap> KeptBytes::gaps_in(int file, std::uint64_t offset, std::uint64_t end) const {
  std::vector<Gap> gaps;
  for (std::uint64_t at = offset; at < end;) {
    const auto next = first_behind(file, at);
    const bool is_there = next != ranges_.end() && next->first.first == file && next->first.second < end;
    const std::uint64_t begin = is_there ? next->first.second : end;
    if (at < begin) gaps.push_back({.offset = at, .size = begin - at});
    at = is_there ? begin + next->second.size : end;
  }
  return gaps;
}

void KeptBytes::put(int file, std::uint64_t offset, std::span<const std::byte> bytes) {
  std::vector<Gap> gaps;
  {
    const std::scoped_lock lock(mutex_);
    gaps = gaps_in(file, offset, offset + bytes.size());
  }
  for (const Gap& gap : gaps) {
    if (!reserve(gap.size)) return;
    Kept kept{.bytes = nullptr, .size = gap.size};
    try {  // without the lock: the first use of memory takes as long as the reading
      kept.bytes = std::make_unique_for_overwrite<std::byte[]>(gap.size);
      std::ranges::copy(bytes.subspan(gap.offset - offset, gap.size), kept.bytes.get());
    } catch (const std::bad_alloc&) {
      kept.bytes.reset();
    }
    const std::scoped_lock lock(mutex_);
    // Another thread may have kept some of it meanwhile.
    const bool is_free = gaps_in(file, gap.offset, gap.offset + gap.size) == std::vector{gap};
    if (kept.bytes && is_free) {
      ranges_.emplace(std::pair(file, gap.offset), std::move(kept));
    } else {
      bytes_ -= gap.size;
    }
  }
}

bool KeptBytes::reserve(std::uint64_t size) {
  const std::scoped_lock lock(mutex_);
  if (bytes_ + size > most_bytes_) return false;
  bytes_ += size;
  return true;
}

std::uint64_t KeptBytes::bytes() const {
  const std::scoped_lock lock(mutex_);
  return bytes_;
}

}  // namespace wan::checkpoint
