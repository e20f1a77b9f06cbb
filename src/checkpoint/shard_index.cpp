#include "checkpoint/shard_index.h"

#include <nlohmann/json.hpp>

#include "checkpoint/json_file.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::uint64_t max_index_bytes = 32 << 20;  // the official one takes 100 KB

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

}  // namespace

std::vector<std::string> ShardIndex::shards() const {
  std::vector<std::string> names;
  names.reserve(tensors_by_shard.size());
  for (const auto& [name, tensors] : tensors_by_shard) names.push_back(name);
  return names;
}

void ShardIndex::expect_same_tensors(const std::string& shard, std::span<const TensorEntry> tensors) const {
  const auto& indexed = tensors_by_shard.at(shard);
  std::set<std::string_view> found;
  for (const TensorEntry& tensor : tensors) {
    found.insert(tensor.name);
    if (!indexed.contains(tensor.name)) {
      fail<UsageError>(
          "{}: it contains the tensor {}, which {} does not list for this file. Are shards of two "
          "checkpoints mixed?",
          tensor.file.string(), in_quotes(tensor.name), path.filename().string());
    }
  }
  for (const std::string& name : indexed) {
    if (!found.contains(name)) {
      fail<UsageError>(
          "{}: it lacks the tensor {}, which {} lists for this file. Are shards of two checkpoints mixed?",
          (path.parent_path() / shard).string(), in_quotes(name), path.filename().string());
    }
  }
}

ShardIndex read_shard_index(const std::filesystem::path& path) {
  const nlohmann::json json = read_json_object(path, max_index_bytes);
  const auto weight_map = json.find("weight_map");
  if (weight_map == json.end() || !weight_map->is_object() || weight_map->empty()) {
    fail<UsageError>("{}: no weight_map; expected an object that maps each tensor to the file it is in",
                     path.string());
  }
  ShardIndex index{.path = path, .tensors_by_shard = {}};
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string() || !is_plain_file_name(shard.get_ref<const std::string&>())) {
      fail<UsageError>("{}: tensor {} is listed in {}; expected the plain name of a file beside the index",
                       path.string(), in_quotes(tensor), in_quotes(shard.dump()));
    }
    index.tensors_by_shard[shard.get<std::string>()].insert(tensor);
  }
  return index;
}

}  // namespace wan::checkpoint
