#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace wan::checkpoint {

/// A transformer's config.json, official or of Diffusers, under the official keys. Messages name file and key
/// as the file has it. Every function throws UsageError.
class TransformerConfigFile {
 public:
  /// Reads the file. Throws also if the model is not supported.
  explicit TransformerConfigFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  bool contains(const char* key) const { return json_.contains(key); }
  std::string model_type() const { return json_.at("model_type").get<std::string>(); }

  std::int64_t size(const char* key) const;
  std::int64_t size_or(const char* key, std::int64_t otherwise) const;
  double eps() const;

  /// For keys that the official file omits because their values never vary. If such a key is present, it must
  /// have this value.
  void expect_fixed(const char* key, const nlohmann::json& value) const;

  /// An official key as the file has it: "num_heads" is "num_attention_heads" for Diffusers.
  std::string key_in_file(std::string_view key) const;

 private:
  std::filesystem::path path_;
  bool is_diffusers_ = false;
  nlohmann::json json_;
};

}  // namespace wan::checkpoint
