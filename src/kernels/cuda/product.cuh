#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

// sum[64, N] = (keep ? sum : 0) + a[64, 32 bytes] * b[N, 32 bytes]: one product of a warp group, for the
// numbers of columns that the convolutions use. Both operands lie in shared memory with the summed axis
// dense.
namespace wan::kernels::cuda {

/// The product for N columns. Each thread holds N / 2 sums.
template <int N>
struct Product;

#define WAN_SUMS(first)                                                                                     \
  "+f"(sum[first]), "+f"(sum[first + 1]), "+f"(sum[first + 2]), "+f"(sum[first + 3]), "+f"(sum[first + 4]), \
      "+f"(sum[first + 5]), "+f"(sum[first + 6]), "+f"(sum[first + 7])

#define WAN_NAMES_0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WAN_NAMES_1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define WAN_NAMES_2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define WAN_NAMES_3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define WAN_NAMES_4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define WAN_NAMES_5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define WAN_NAMES_6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define WAN_NAMES_7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define WAN_NAMES_8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define WAN_NAMES_9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define WAN_NAMES_10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define WAN_NAMES_11 "%88, %89, %90, %91, %92, %93, %94, %95"

// tail: "" for TF32, or the two transposition flags of the 16-bit types.
#define WAN_PRODUCT(columns, depth, type, names, a_at, b_at, keep_at, tail, ...)                      \
  asm volatile("{\n.reg .pred keep;\nsetp.ne.b32 keep, " keep_at                                      \
               ", 0;\n"                                                                               \
               "wgmma.mma_async.sync.aligned.m64n" columns "k" depth ".f32." type "." type " {" names \
               "}, " a_at ", " b_at ", keep, 1, 1" tail ";\n}\n"                                      \
               : __VA_ARGS__                                                                          \
               : "l"(a), "l"(b), "r"(keep))

#define WAN_PRODUCTS(N, names, a_at, b_at, keep_at, ...)                                                  \
  template <>                                                                                             \
  struct Product<N> {                                                                                     \
    __device__ static void add(float (&sum)[N / 2], std::uint64_t a, std::uint64_t b, int keep, float) {  \
      WAN_PRODUCT(#N, "8", "tf32", names, a_at, b_at, keep_at, "", __VA_ARGS__);                          \
    }                                                                                                     \
    __device__ static void add(float (&sum)[N / 2], std::uint64_t a, std::uint64_t b, int keep, __half) { \
      WAN_PRODUCT(#N, "16", "f16", names, a_at, b_at, keep_at, ", 0, 0", __VA_ARGS__);                    \
    }                                                                                                     \
    __device__ static void add(float (&sum)[N / 2], std::uint64_t a, std::uint64_t b, int keep,           \
                               __nv_bfloat16) {                                                           \
      WAN_PRODUCT(#N, "16", "bf16", names, a_at, b_at, keep_at, ", 0, 0", __VA_ARGS__);                   \
    }                                                                                                     \
  };

WAN_PRODUCTS(16, WAN_NAMES_0, "%8", "%9", "%10", WAN_SUMS(0))
WAN_PRODUCTS(32, WAN_NAMES_0 ", " WAN_NAMES_1, "%16", "%17", "%18", WAN_SUMS(0), WAN_SUMS(8))
WAN_PRODUCTS(64, WAN_NAMES_0 ", " WAN_NAMES_1 ", " WAN_NAMES_2 ", " WAN_NAMES_3, "%32", "%33", "%34",
             WAN_SUMS(0), WAN_SUMS(8), WAN_SUMS(16), WAN_SUMS(24))
WAN_PRODUCTS(96,
             WAN_NAMES_0 ", " WAN_NAMES_1 ", " WAN_NAMES_2 ", " WAN_NAMES_3 ", " WAN_NAMES_4 ", " WAN_NAMES_5,
             "%48", "%49", "%50", WAN_SUMS(0), WAN_SUMS(8), WAN_SUMS(16), WAN_SUMS(24), WAN_SUMS(32),
             WAN_SUMS(40))
WAN_PRODUCTS(128,
             WAN_NAMES_0 ", " WAN_NAMES_1 ", " WAN_NAMES_2 ", " WAN_NAMES_3 ", " WAN_NAMES_4 ", " WAN_NAMES_5
                         ", " WAN_NAMES_6 ", " WAN_NAMES_7,
             "%64", "%65", "%66", WAN_SUMS(0), WAN_SUMS(8), WAN_SUMS(16), WAN_SUMS(24), WAN_SUMS(32),
             WAN_SUMS(40), WAN_SUMS(48), WAN_SUMS(56))
WAN_PRODUCTS(160,
             WAN_NAMES_0 ", " WAN_NAMES_1 ", " WAN_NAMES_2 ", " WAN_NAMES_3 ", " WAN_NAMES_4 ", " WAN_NAMES_5
                         ", " WAN_NAMES_6 ", " WAN_NAMES_7 ", " WAN_NAMES_8 ", " WAN_NAMES_9,
             "%80", "%81", "%82", WAN_SUMS(0), WAN_SUMS(8), WAN_SUMS(16), WAN_SUMS(24), WAN_SUMS(32),
             WAN_SUMS(40), WAN_SUMS(48), WAN_SUMS(56), WAN_SUMS(64), WAN_SUMS(72))
WAN_PRODUCTS(192,
             WAN_NAMES_0 ", " WAN_NAMES_1 ", " WAN_NAMES_2 ", " WAN_NAMES_3 ", " WAN_NAMES_4 ", " WAN_NAMES_5
                         ", " WAN_NAMES_6 ", " WAN_NAMES_7 ", " WAN_NAMES_8 ", " WAN_NAMES_9 ", " WAN_NAMES_10
                         ", " WAN_NAMES_11,
             "%96", "%97", "%98", WAN_SUMS(0), WAN_SUMS(8), WAN_SUMS(16), WAN_SUMS(24), WAN_SUMS(32),
             WAN_SUMS(40), WAN_SUMS(48), WAN_SUMS(56), WAN_SUMS(64), WAN_SUMS(72), WAN_SUMS(80), WAN_SUMS(88))

#undef WAN_PRODUCTS
#undef WAN_PRODUCT
#undef WAN_SUMS
#undef WAN_NAMES_0
#undef WAN_NAMES_1
#undef WAN_NAMES_2
#undef WAN_NAMES_3
#undef WAN_NAMES_4
#undef WAN_NAMES_5
#undef WAN_NAMES_6
#undef WAN_NAMES_7
#undef WAN_NAMES_8
#undef WAN_NAMES_9
#undef WAN_NAMES_10
#undef WAN_NAMES_11

}  // namespace wan::kernels::cuda
