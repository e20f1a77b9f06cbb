#include "apps/run_identity.h"

#include "core/check.h"
#include "core/strings.h"
#include "kernels/attention.h"
#include "store/earlier.h"

namespace wan::apps {

store::ModelIdentity model_identity(const std::string& weights, const lora::LoraSet& loras,
                                    const kernels::Compute& compute) {
  store::ModelIdentity identity{.weights = weights, .precision = std::string(compute.precision_name())};
  for (const lora::Lora& lora : loras) {
    identity.loras.push_back(
        {.sha256 = lora.sha256, .strength = lora.strength, .experts = std::string(to_string(lora.experts))});
  }
  return identity;
}

std::vector<std::string> lora_files(const lora::LoraSet& loras) {
  std::vector<std::string> files;
  files.reserve(loras.size());
  for (const lora::Lora& lora : loras) files.push_back(lora.file.string());
  return files;
}

std::string attention_name(const launch::Options& options, const kernels::Compute& compute,
                           const checkpoint::TransformerConfig& transformer) {
  constexpr std::int64_t many_keys = 32'760;
  if (options.attention != kernels::AttentionBackend::automatic) {
    return std::string(kernels::to_string(options.attention));
  }
  const auto chosen = kernels::attention_backend_for(compute.device, compute.type,
                                                     transformer.dim / transformer.num_heads, many_keys);
  return fmt::format("{} (automatic)", kernels::to_string(chosen));
}

void require_free_names(const launch::Options& options, const launch::RunInput& input) {
  const bool is_single = options.save_file && !input.rows.empty();
  store::require_free_names(options.output_dir, is_single ? input.rows.front().id : std::string(),
                            options.save_latents, options.save_file ? "--save-file" : "--output-dir");
  if (!options.run_record) return;
  std::error_code error;
  if (std::filesystem::exists(*options.run_record, error) && !store::is_run_record(*options.run_record)) {
    fail<UsageError>("--run-record: {} is not a record of wan_batch and would be replaced: name another file",
                     printable(options.run_record->string()));
  }
}

std::string obstacle_to(const launch::Options& options, const manifest::ManifestRow& row) {
  return store::find_obstacle(store::OutputFolder::view(options.output_dir), row.id, options.save_latents)
      .value_or("");
}

}  // namespace wan::apps
