#include "dit/weights.h"

#include <ATen/ATen.h>

#include "core/check.h"

namespace wan::dit {
namespace {

/// Joins tensors that are adjacent in the unit's flat buffer along their first axis, without a copy.
at::Tensor joined(std::span<const at::Tensor> parts) {
  const at::Tensor& first = parts.front();
  std::vector<std::int64_t> shape = first.sizes().vec();
  std::int64_t expected_offset = first.storage_offset();
  shape[0] = 0;
  for (const at::Tensor& part : parts) {
    WAN_CHECK(part.storage_offset() == expected_offset && part.is_contiguous() && part.is_alias_of(first),
              "parameters that form one matrix do not lie one after the other");
    expected_offset += part.numel();
    shape[0] += part.size(0);
  }
  return first.as_strided(shape, first.strides());
}

}  // namespace

StemWeights::StemWeights(std::span<const at::Tensor> unit) {
  WAN_CHECK(unit.size() == 12 || unit.size() == 20, "the stem has {} tensors", unit.size());
  patch_weight = unit[0].flatten(1);
  patch_bias = unit[1];
  text_0_weight = unit[2];
  text_0_bias = unit[3];
  text_2_weight = unit[4];
  text_2_bias = unit[5];
  time_0_weight = unit[6];
  time_0_bias = unit[7];
  time_2_weight = unit[8];
  time_2_bias = unit[9];
  time_projection_weight = unit[10];
  time_projection_bias = unit[11];
  if (unit.size() == 12) return;
  image = {.norm_0_weight = unit[12],
           .norm_0_bias = unit[13],
           .linear_0_weight = unit[14],
           .linear_0_bias = unit[15],
           .linear_1_weight = unit[16],
           .linear_1_bias = unit[17],
           .norm_1_weight = unit[18],
           .norm_1_bias = unit[19]};
}

BlockWeights::BlockWeights(std::span<const at::Tensor> unit) {
  WAN_CHECK(unit.size() == 27 || unit.size() == 32, "a block has {} tensors", unit.size());
  qkv_weight = joined(unit.subspan(0, 3));
  qkv_bias = joined(unit.subspan(3, 3));
  out_weight = unit[6];
  out_bias = unit[7];
  norm_q = unit[8];
  norm_k = unit[9];
  cross_q_weight = unit[10];
  cross_q_bias = unit[11];
  cross_kv_weight = joined(unit.subspan(12, 2));
  cross_kv_bias = joined(unit.subspan(14, 2));
  cross_out_weight = unit[16];
  cross_out_bias = unit[17];
  cross_norm_q = unit[18];
  cross_norm_k = unit[19];
  norm3_weight = unit[20];
  norm3_bias = unit[21];
  ffn_0_weight = unit[22];
  ffn_0_bias = unit[23];
  ffn_2_weight = unit[24];
  ffn_2_bias = unit[25];
  modulation = unit[26].squeeze(0);
  if (unit.size() == 27) return;
  image_kv_weight = joined(unit.subspan(27, 2));
  image_kv_bias = joined(unit.subspan(29, 2));
  image_norm_k = unit[31];
}

HeadWeights::HeadWeights(std::span<const at::Tensor> unit) {
  WAN_CHECK(unit.size() == 3, "the head has {} tensors", unit.size());
  weight = unit[0];
  bias = unit[1];
  modulation = unit[2].squeeze(0);
}

}  // namespace wan::dit
