#pragma once

namespace wan::kernels {

/// Whether this build has the kernels of kernels/cuda. Every choice between them and ATen has the form
/// if constexpr (with_cuda) { if (x.is_cuda() && fits_...(x)) return cuda::...; }
/// so a build without CUDA neither compiles nor links them.
#ifdef WAN_WITH_CUDA
inline constexpr bool with_cuda = true;
#else
inline constexpr bool with_cuda = false;
#endif

}  // namespace wan::kernels
