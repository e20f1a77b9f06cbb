#pragma once

#include <cstdint>
#include <string>

#include "manifest/manifest.h"
#include "model/request_values.h"
#include "wan/request.h"

namespace wan::manifest {

/// Values that hold for every item of a run, and that no manifest row may give.
struct RunSettings {
  std::uint64_t base_seed = 0;     ///< given by the user, else from draw_base_seed() on rank 0
  bool base_seed_is_drawn = true;  ///< not given by the user
  NoiseDevice noise_device = NoiseDevice::cpu;
  int fps = 16;
  std::string codec = "libx264";
  int crf = 10;
};

/// Draws a base seed from the system's random source, 0..2^31-1. Called once, on rank 0.
std::uint64_t draw_base_seed();

/// Returns true if neither the row nor the command line gives the seed, or a base seed to count it from.
bool has_automatic_seed(const ManifestRow& row, const RequestOverrides& command_line,
                        const RunSettings& settings);

/// The request of a good row. Each field is the row's value, else the command line's, else the task's
/// default. If neither gives a seed, it is base_seed + row index, modulo 2^64.
Request resolve(const ManifestRow& row, const RequestOverrides& command_line, const TaskDefaults& defaults,
                const RunSettings& settings);

}  // namespace wan::manifest
