#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>

#include "checkpoint/tensor_file.h"

namespace wan::checkpoint {

/// Which shard contains which tensor: the weight_map of a *.safetensors.index.json (model.md 1.6).
struct ShardIndex {
  std::filesystem::path path;
  std::map<std::string, std::set<std::string, std::less<>>> tensors_by_shard;

  std::vector<std::string> shards() const;  ///< file names, in alphabetical order

  /// Throws UsageError unless the shard contains exactly the tensors that the index lists for it.
  void expect_same_tensors(const std::string& shard, std::span<const TensorEntry> tensors) const;
};

/// Reads an index. Throws UsageError: not JSON, no weight_map, a tensor listed twice, or a shard that is not
/// a plain file name.
ShardIndex read_shard_index(const std::filesystem::path& path);

}  // namespace wan::checkpoint
