#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define WAN_ON_HOST_AND_DEVICE __host__ __device__
#else
#define WAN_ON_HOST_AND_DEVICE
#endif

// No ATen here, because the kernels of kernels/cuda include this header.
namespace wan::kernels {

/// The owners of a model's heads. Parts own neighbouring heads, in order. The first full_parts() parts have
/// per_part() heads each, and the parts after them have one head less.
struct HeadDivision {
  std::int64_t heads = 0;
  std::int64_t parts = 1;  ///< at most `heads`

  WAN_ON_HOST_AND_DEVICE constexpr std::int64_t per_part() const { return (heads + parts - 1) / parts; }
  WAN_ON_HOST_AND_DEVICE constexpr std::int64_t full_parts() const {
    return heads - parts * (per_part() - 1);
  }
  WAN_ON_HOST_AND_DEVICE constexpr bool is_even() const { return full_parts() == parts; }
  constexpr std::int64_t heads_of(std::int64_t part) const {
    return part < full_parts() ? per_part() : per_part() - 1;
  }
};

/// A part of the heads, and a place among its per_part() places.
struct HeadPlace {
  int part = 0;
  int place = 0;
};

/// The place of a head. A part with one head less leaves `empty_place` empty.
WAN_ON_HOST_AND_DEVICE constexpr HeadPlace place_of_head(int head, int per_part, int full_parts,
                                                         int empty_place) {
  const int in_full_parts = full_parts * per_part;
  if (head < in_full_parts) return {head / per_part, head % per_part};
  const int beyond = head - in_full_parts;
  const int place = beyond % (per_part - 1);
  return {full_parts + beyond / (per_part - 1), place < empty_place ? place : place + 1};
}

}  // namespace wan::kernels
