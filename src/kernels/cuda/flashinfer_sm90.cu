#include <cutlass/numeric_types.h>

#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>

#include "kernels/cuda/flashinfer_sm90.h"

namespace wan::kernels::cuda {
namespace {

constexpr int head_dim = 128;
constexpr int query_tile = 128;
constexpr int key_tile = 176;  // keys: two stages of K and V and a tile of Q fill a Hopper SM's shared memory
constexpr int stages = 2;

using Element = cutlass::bfloat16_t;
using Parameters = flashinfer::SinglePrefillParams<Element, Element, Element>;

}  // namespace

/// FlashInfer's kernel for this tile, with the epilogue below.
struct FlashInferTraits
    : flashinfer::AttentionKernelTraits</*USE_TMA_LOAD_KV=*/true, head_dim, head_dim, query_tile, key_tile,
                                        stages, Element, Element, Element, Parameters::IdType,
                                        flashinfer::StandardAttention> {
  using Base = AttentionKernelTraits;
};

}  // namespace wan::kernels::cuda

namespace flashinfer {

/// Writes a tile of results through shared memory. FlashInfer's own epilogue (0.6.0) has a race: every thread
/// arrives at a barrier of as many threads and then waits at the same barrier. Both calls of one of the two
/// warp groups open it. That group may then read the other's rows before they are written. Slowed down by
/// compute-sanitizer, the results were wrong at places. This version has one wait, for both groups.
template <>
struct CollectiveEpilogue<wan::kernels::cuda::FlashInferTraits>
    : CollectiveEpilogue<wan::kernels::cuda::FlashInferTraits::Base> {
  template <typename BlockCoord, typename SharedStorage, typename Accumulators, typename LogSums,
            typename TiledMma>
  CUTLASS_DEVICE void store(const Params& params, const Accumulators& accumulators,
                            const LogSums& /*log_sums*/, SharedStorage& shared, TiledMma tiled_mma,
                            int thread, const BlockCoord& block) {
    using cutlass::arch::NamedBarrier;
    const auto [query_tile, head, kv_head, first_query, first_key, queries, keys, batch] = block;
    auto tile = make_tensor(make_smem_ptr(shared.smem_o.data()), SmemLayoutO{});  // [query_tile, head_dim]
    const auto tiled_copy = make_tiled_copy_C(SmemCopyAtomO{}, tiled_mma);
    const auto thread_copy = tiled_copy.get_thread_slice(thread);
    auto rounded = convert_type<DTypeO>(accumulators);
    auto own = thread_copy.retile_S(rounded);
    auto place = thread_copy.partition_D(tile);
    // The tile occupies V's memory, which the other warp group may still read.
    NamedBarrier::sync(NUM_MMA_THREADS, static_cast<int>(NamedBarriers::kValueEmpty));
    cute::copy(tiled_copy, own, place);
    NamedBarrier::sync(NUM_MMA_THREADS, cutlass::arch::ReservedNamedBarriers::EpilogueBarrier);
    write_O<NUM_COPY_THREADS>(params.O_ptr, TiledCopyO{}, params.layout_O, select<0, 1>(TileShape_PDV{}),
                              tile, thread, query_tile, head, first_query, queries, /*write_warp_idx=*/0);
  }
};

}  // namespace flashinfer

namespace wan::kernels::cuda {

cudaError_t launch_flashinfer_sm90(const AttentionCall& call, cudaStream_t stream) {
  Parameters parameters{};
  parameters.q_ptr = static_cast<Element*>(call.q.data);
  parameters.k_ptr = static_cast<Element*>(call.k.data);
  parameters.v_ptr = static_cast<Element*>(call.v.data);
  parameters.o_ptr = static_cast<Element*>(call.out.data);
  parameters.additional_params.sm_scale = call.scale;
  parameters.q_stride_n = call.q.token_stride;
  parameters.q_stride_h = call.q.head_stride;
  parameters.k_stride_n = call.k.token_stride;
  parameters.k_stride_h = call.k.head_stride;
  parameters.v_stride_n = call.v.token_stride;
  parameters.v_stride_h = call.v.head_stride;
  parameters.o_stride_n = call.out.token_stride;
  parameters.o_stride_h = call.out.head_stride;
  parameters.qo_len = call.queries;
  parameters.kv_len = call.keys;
  parameters.num_qo_heads = call.heads;
  parameters.num_kv_heads = call.heads;
  parameters.group_size = 1;
  parameters.window_left = -1;
  parameters.causal = false;
  const cudaError_t set_up =
      flashinfer::SinglePrefillWithKVCacheKernelTraitsDispatched<FlashInferTraits,
                                                                 /*LEFT_SLIDING_WINDOW=*/false,
                                                                 /*CAUSAL=*/false>(parameters, stream);
  return set_up == cudaSuccess ? cudaGetLastError() : set_up;
}

}  // namespace wan::kernels::cuda
