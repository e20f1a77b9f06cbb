#pragma once

/// A loop is compiled once for each instruction set, and the widest one that the CPU has runs. The loop is a
/// template name<T, Isa>() that is forced inline into functions for an instruction set.
#define WAN_INLINE inline __attribute__((always_inline))

namespace wan::kernels::cpu {

// Width of vectors, and the positions of a tile, whose sums must fit the registers.
struct Vectors128 {
  static constexpr int vector_bytes = 16;
  static constexpr int positions = 4;
};
struct Vectors256 {
  static constexpr int vector_bytes = 32;
  static constexpr int positions = 6;
};
struct Vectors512 {
  static constexpr int vector_bytes = 64;
  static constexpr int positions = 12;
};

#if defined(__x86_64__)
inline int vector_bytes() {
  if (__builtin_cpu_supports("avx512f") != 0) return Vectors512::vector_bytes;
  const bool has_256 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  return has_256 ? Vectors256::vector_bytes : Vectors128::vector_bytes;
}
#if defined(__clang__)
#define WAN_TARGET_512 \
  "avx512f,avx2,fma"  // Clang has no such preference, and would ignore the whole attribute
#else
#define WAN_TARGET_512 "avx512f,avx2,fma,prefer-vector-width=512"
#endif
// Defines name_128(), name_256() and name_512() for values of `type`.
// NOLINTBEGIN(bugprone-macro-parentheses): parameters, arguments and a type
#define WAN_FOR_INSTRUCTION_SETS(name, parameters, type, arguments)                                    \
  void name##_128 parameters { name<type, Vectors128> arguments; }                                     \
  __attribute__((target("avx2,fma"))) void name##_256 parameters { name<type, Vectors256> arguments; } \
  __attribute__((target(WAN_TARGET_512))) void name##_512 parameters { name<type, Vectors512> arguments; }
// NOLINTEND(bugprone-macro-parentheses)
#define WAN_CALL_WIDEST(name, arguments)                              \
  vector_bytes() == Vectors512::vector_bytes   ? name##_512 arguments \
  : vector_bytes() == Vectors256::vector_bytes ? name##_256 arguments \
                                               : name##_128 arguments
#else
inline int vector_bytes() { return Vectors128::vector_bytes; }
#define WAN_FOR_INSTRUCTION_SETS(name, parameters, type, arguments) \
  void name##_128 parameters { name<type, Vectors128> arguments; }
#define WAN_CALL_WIDEST(name, arguments) name##_128 arguments
#endif

}  // namespace wan::kernels::cpu
