#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "store/item_work.h"
#include "store/output_folder.h"

namespace wan::store {

/// A row of a manifest.
struct BatchItem {
  std::string id;
  ItemWork work;
};

/// A run leaves this record in the output folder at its start, so that others can tell how much there is to
/// do. There is one per manifest, however its path is written: OUT/.claims/.batch-<hash>.json. Each run of
/// the manifest replaces it.
struct BatchRecord {
  std::string manifest;               ///< its path
  std::int64_t rows = 0;              ///< of the whole manifest, whatever the shard
  std::vector<BatchItem> items = {};  ///< these rows; none in records of earlier versions
  bool keeps_drafts = false;  ///< the run makes drafts or goes on with some: the others are not to be made
  bool has_changed = false;  ///< the file holds something else now; false if nobody can tell (set by reading)
};

/// The path of a manifest in the form that is compared: absolute, without links and "..".
std::string canonical_manifest(const std::filesystem::path& manifest);

/// Throws Error.
void write_batch_record(const OutputFolder& folder, const BatchRecord& record);

/// The records in a claims folder. Files that are no records are left out.
std::vector<BatchRecord> read_batch_records(const std::filesystem::path& claims);

}  // namespace wan::store
