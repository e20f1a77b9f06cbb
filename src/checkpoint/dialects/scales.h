#pragma once

#include <filesystem>

#include "checkpoint/dialects/dialect.h"

namespace wan::checkpoint {

/// Gives fp8 weights their scales, and removes the tensors that say how they are quantised. The forms, after
/// comfy/utils.py (convert_old_quants) and comfy/quant_ops.py (QUANT_ALGOS) of ComfyUI 0.9, and LightX2V's
/// converter:
/// - `X.weight` in F8_E4M3 or F8_E5M2 with `X.scale_weight` (a file with the marker `scaled_fp8`) or
///   `X.weight_scale` (with `X.comfy_quant`): one number, or one for each row. The weight is their product.
/// - `X.scale_input` and `X.input_scale` are of ComfyUI's fp8 products, and have no part in the weight.
/// - fp8 weights in a file without the marker and without any scale are the weights themselves.
/// Layers that a converter skips (norms, biases, modulations, embeddings, the head) are in bf16, fp16 or
/// fp32. Throws UsageError: a weight without a scale beside others with one, a scale without a weight or of
/// another shape, NVFP4, MXFP8, INT8.
TensorEntries with_scales(TensorEntries&& entries, const std::filesystem::path& where);

}  // namespace wan::checkpoint
