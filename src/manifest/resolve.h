#pragma once

#include <cstdint>
#include <string>

#include "manifest/manifest.h"
#include "model/request_values.h"
#include "wan/request.h"

namespace wan::manifest {

/// What holds for every item of a run and no manifest row may say.
struct RunSettings {
  std::uint64_t base_seed = 0;     ///< as given, else from draw_base_seed() on rank 0
  bool base_seed_is_drawn = true;  ///< not given by the user
  NoiseDevice noise_device = NoiseDevice::cpu;
  int fps = 16;
  std::string codec = "libx264";
  int crf = 10;
};

/// A base seed from the system's random source, 0..2^31-1. Drawn once, on rank 0.
std::uint64_t draw_base_seed();

/// True if neither the row nor the command line gives the seed, nor one that it is counted from.
bool has_automatic_seed(const ManifestRow& row, const RequestOverrides& command_line,
                        const RunSettings& settings);

/// Every field of a good row's request: the row's value, else the command line's, else the task's default;
/// the seed base_seed + row index where neither gives one, modulo 2^64.
Request resolve(const ManifestRow& row, const RequestOverrides& command_line, const TaskDefaults& defaults,
                const RunSettings& settings);

}  // namespace wan::manifest
