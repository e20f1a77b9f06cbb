#pragma once

#include <cuda.h>

#include <cstdint>

// Instructions of Hopper GPUs (sm_90a) as the PTX manual defines them: barriers in shared memory, copies of
// tensor boxes by the copy engine (TMA), and products of a warp group (128 threads) from shared memory.
namespace wan::kernels::cuda {

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// A barrier in shared memory. `address`: 8 bytes, aligned to 8.
struct SharedBarrier {
  std::uint32_t address;

  __device__ void init(int arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(arrivals) : "memory");
  }
  __device__ void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address) : "memory");
  }
  /// Arrives, and lets the phase wait for `bytes` that the copy engine brings.
  __device__ void arrive_and_expect(std::uint32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address), "r"(bytes)
                 : "memory");
  }
  /// Waits until the phase with this parity has passed.
  __device__ void wait(std::uint32_t parity) const {
    asm volatile(
        "{\n.reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1, 0x989680;\n"
        "@!done bra again;\n}\n" ::"r"(address),
        "r"(parity)
        : "memory");
  }
};

/// Makes the initialised barriers visible to the copy engine.
__device__ inline void fence_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ inline void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

__device__ inline void load_box(const CUtensorMap& map, std::uint32_t to, SharedBarrier full, int c0, int c1,
                                int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(to),
      "l"(&map), "r"(full.address), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}

__device__ inline void load_box(const CUtensorMap& map, std::uint32_t to, SharedBarrier full, int c0, int c1,
                                int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
      "%6}], [%2];" ::"r"(to),
      "l"(&map), "r"(full.address), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}

/// Asks for a box to be brought to the L2 cache.
__device__ inline void prefetch_box(const CUtensorMap& map, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global [%0, {%1, %2, %3, %4}];" ::"l"(&map), "r"(c0),
               "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}

template <int Registers>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

/// The swizzle of an operand in shared memory: bits 62 and 63 of its descriptor.
enum class Swizzle : std::uint64_t { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

/// The part of a descriptor that does not hold the address. `across`: bytes between core matrices (8 rows of
/// 16 bytes) along the sum, only without swizzle; `down`: bytes between groups of 8 rows.
__device__ inline std::uint64_t operand_layout(Swizzle swizzle, std::uint32_t across, std::uint32_t down) {
  return static_cast<std::uint64_t>(swizzle) << 62 | static_cast<std::uint64_t>(down >> 4) << 32 |
         static_cast<std::uint64_t>(across >> 4) << 16;
}

__device__ inline std::uint64_t operand(std::uint64_t layout, std::uint32_t address) {
  return layout | (address & 0x3FFFF) >> 4;
}

__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most `Pending` committed groups are not finished.
template <int Pending>
__device__ void await_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/// Keeps the compiler from moving accesses to the sums across this place.
template <int Count>
__device__ void hold(float (&sum)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(sum[i])::"memory");
}

}  // namespace wan::kernels::cuda
