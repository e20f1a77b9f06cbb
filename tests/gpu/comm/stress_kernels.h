#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace wan::comm::test {

// All functions work on device memory, in stream order. They return the error of the launch.

/// words[i] becomes a word that differs between seeds and positions.
cudaError_t fill_pattern(std::uint32_t* words, std::size_t count, std::uint32_t seed, cudaStream_t stream);

/// Adds to *mismatches the number of words that differ from fill_pattern()'s.
cudaError_t count_mismatches(const std::uint32_t* words, std::size_t count, std::uint32_t seed,
                             unsigned long long* mismatches, cudaStream_t stream);

/// Keeps `blocks` blocks of 256 threads busy for this many clock cycles.
cudaError_t keep_busy(unsigned blocks, long long cycles, cudaStream_t stream);

}  // namespace wan::comm::test
