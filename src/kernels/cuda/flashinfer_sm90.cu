#include <cutlass/numeric_types.h>

#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>

#include "kernels/cuda/flashinfer_sm90.h"

namespace wan::kernels::cuda {
namespace {

constexpr int head_dim = 128;
constexpr int query_tile = 128;
constexpr int key_tile =
    176;  // two stages of K and V of this length and a tile of Q fill a Hopper SM's shared memory
constexpr int stages = 2;

using Element = cutlass::bfloat16_t;
using Parameters = flashinfer::SinglePrefillParams<Element, Element, Element>;
using Traits = flashinfer::AttentionKernelTraits</*USE_TMA_LOAD_KV=*/true, head_dim, head_dim, query_tile,
                                                 key_tile, stages, Element, Element, Element,
                                                 Parameters::IdType, flashinfer::StandardAttention>;

}  // namespace

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
      flashinfer::SinglePrefillWithKVCacheKernelTraitsDispatched<Traits, /*LEFT_SLIDING_WINDOW=*/false,
                                                                 /*CAUSAL=*/false>(parameters, stream);
  return set_up == cudaSuccess ? cudaGetLastError() : set_up;
}

}  // namespace wan::kernels::cuda
