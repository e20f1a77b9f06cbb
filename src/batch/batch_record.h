#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "batch/output_folder.h"

namespace wan::batch {

/// What a run leaves in an output folder at its start, so that others can tell how much there is to do. One
/// per manifest, replaced by every run of it: OUT/.claims/.batch-<hash>.json
struct BatchRecord {
  std::string manifest;   ///< its path as the run was given it
  std::int64_t rows = 0;  ///< of the whole manifest, whatever the shard
};

/// Throws Error.
void write_batch_record(const OutputFolder& folder, const BatchRecord& record);

/// The records in a claims folder; what is not one is left out.
std::vector<BatchRecord> read_batch_records(const std::filesystem::path& claims);

}  // namespace wan::batch
