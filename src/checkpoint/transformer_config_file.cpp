#include "checkpoint/transformer_config_file.h"

#include <array>
#include <string_view>
#include <utility>

#include "checkpoint/json_file.h"
#include "checkpoint/tensor_file.h"
#include "checkpoint/unsupported_model.h"
#include "core/check.h"
#include "model/model_kind.h"

namespace wan::checkpoint {
namespace {

constexpr std::uint64_t max_config_bytes = 1 << 20;
constexpr std::int64_t max_size = 1 << 24;  // far above any width; products of two fit into 64 bits
constexpr std::string_view diffusers_class = "WanTransformer3DModel";

/// Diffusers' keys and the official ones of the same values (WanTransformer3DModel of Diffusers 0.36).
constexpr std::array<std::pair<const char*, const char*>, 10> diffusers_keys{
    {{"num_attention_heads", "num_heads"},
     {"in_channels", "in_dim"},
     {"out_channels", "out_dim"},
     {"ffn_dim", "ffn_dim"},
     {"freq_dim", "freq_dim"},
     {"text_dim", "text_dim"},
     {"num_layers", "num_layers"},
     {"eps", "eps"},
     {"patch_size", "patch_size"},
     {"cross_attn_norm", "cross_attn_norm"}}};

/// The type that the channels of a transformer's input show; empty if no supported model has so many.
std::string_view type_of_channels(const nlohmann::json& channels) {
  for (const model::ModelKind& kind : model::model_kinds())
    if (channels == kind.input_channels()) return kind.model_type;
  return {};
}

/// The official config.json of a Diffusers transformer.
nlohmann::json official_values(const nlohmann::json& diffusers, const std::filesystem::path& path) {
  nlohmann::json values = {{"_class_name", "WanModel"}};
  for (const auto& [theirs, official] : diffusers_keys) {
    const auto found = diffusers.find(theirs);
    if (found != diffusers.end() && !found->is_null()) values[official] = *found;
  }
  if (diffusers.contains("pos_embed_seq_len") && !diffusers.at("pos_embed_seq_len").is_null()) {
    fail<UsageError>(
        "{} is Wan 2.1 FLF2V-14B (it has pos_embed_seq_len), which is not supported; this program "
        "supports {}",
        path.string(), model::known_tasks());
  }
  const nlohmann::json channels = diffusers.value("in_channels", nlohmann::json(16));
  const std::string_view type = type_of_channels(channels);
  if (type.empty()) {
    fail<UsageError>(
        "{}: 'in_channels' is {}; expected 16 (text to video), 36 (image to video) or 48 (TI2V-5B)",
        path.string(), in_quotes(channels.dump()));
  }
  values["model_type"] = type;
  const auto norm = diffusers.find("qk_norm");
  if (norm != diffusers.end())
    values["qk_norm"] = *norm == "rms_norm_across_heads" ? nlohmann::json(true) : *norm;
  const nlohmann::json heads = diffusers.value("num_attention_heads", nlohmann::json());
  const nlohmann::json head_dim = diffusers.value("attention_head_dim", nlohmann::json(128));
  const auto is_size = [](const nlohmann::json& value) {
    return value.is_number_unsigned() && value > 0 && value <= 65536;
  };
  if (!is_size(heads) || !is_size(head_dim)) {
    fail<UsageError>(
        "{}: 'num_attention_heads' is {} and 'attention_head_dim' is {}; expected positive integers",
        path.string(), in_quotes(heads.dump()), in_quotes(head_dim.dump()));
  }
  values["dim"] = heads.get<std::uint64_t>() * head_dim.get<std::uint64_t>();
  return values;
}

}  // namespace

TransformerConfigFile::TransformerConfigFile(std::filesystem::path path)
    : path_(std::move(path)), json_(read_json_object(path_, max_config_bytes)) {
  is_diffusers_ = json_.value("_class_name", nlohmann::json()) == diffusers_class;
  if (is_diffusers_) json_ = official_values(json_, path_);
  refuse_unsupported_config(json_, path_);
}

std::string TransformerConfigFile::key_in_file(std::string_view key) const {
  if (!is_diffusers_) return std::string(key);
  if (key == "dim") return "num_attention_heads x attention_head_dim";
  for (const auto& [theirs, official] : diffusers_keys)
    if (key == official) return theirs;
  return std::string(key);
}

std::int64_t TransformerConfigFile::size(const char* key) const {
  const auto found = json_.find(key);
  if (found == json_.end()) {
    fail<UsageError>("{}: '{}' is missing; expected a positive integer", path_.string(), key_in_file(key));
  }
  if (!found->is_number_unsigned() || *found == 0 || *found > max_size) {
    fail<UsageError>("{}: '{}' is {}; expected an integer from 1 to {}", path_.string(), key_in_file(key),
                     in_quotes(found->dump()), max_size);
  }
  return found->get<std::int64_t>();
}

std::int64_t TransformerConfigFile::size_or(const char* key, std::int64_t otherwise) const {
  return json_.contains(key) ? size(key) : otherwise;
}

double TransformerConfigFile::eps() const {
  const auto found = json_.find("eps");
  if (found == json_.end()) return 1e-6;  // the default of the official constructor
  if (!found->is_number() || !(found->get<double>() > 0) || !(found->get<double>() < 1)) {
    fail<UsageError>("{}: 'eps' is {}; expected a number between 0 and 1", path_.string(),
                     in_quotes(found->dump()));
  }
  return found->get<double>();
}

void TransformerConfigFile::expect_fixed(const char* key, const nlohmann::json& value) const {
  const auto found = json_.find(key);
  if (found == json_.end() || *found == value) return;
  const bool is_norm = is_diffusers_ && std::string_view(key) == "qk_norm";
  fail<UsageError>("{}: '{}' is {}; only {} is supported", path_.string(), key_in_file(key),
                   in_quotes(found->dump()), is_norm ? "\"rms_norm_across_heads\"" : value.dump());
}

}  // namespace wan::checkpoint
