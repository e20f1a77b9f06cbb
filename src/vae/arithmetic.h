#pragma once

#include <ATen/core/ScalarType.h>

#include <cstdint>
#include <optional>

namespace wan::vae {

/// How an autoencoder computes. Sums, norms, the image's and the latent's first convolution and the heads are
/// fp32 in all cases.
struct Arithmetic {
  /// fp16 or bf16: the type of activations and of the convolutions' weights, which is an approximation. None:
  /// the weights' own type.
  std::optional<at::ScalarType> rounded;
  /// Products of fp32 values in convolutions may round their factors to TF32 on a GPU, as in the official
  /// code.
  bool tf32 = false;
  /// Most memory of a convolution's window. Larger ones are made band by band of rows, with the same bits. At
  /// 832 x 480 one band holds all rows of the widest level.
  std::int64_t window_bytes = std::int64_t{1} << 30;
};

}  // namespace wan::vae
