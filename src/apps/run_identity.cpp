#include "apps/run_identity.h"

#include <algorithm>
#include <array>

#include "apps/run_places.h"
#include "core/check.h"
#include "core/strings.h"
#include "kernels/attention.h"
#include "lora/lora_set.h"
#include "store/earlier.h"

namespace wan::apps {

store::ModelIdentity model_identity(const std::string& weights, const launch::RunDevice& device) {
  store::ModelIdentity identity{.weights = weights,
                                .precision = std::string(device.compute.precision_name())};
  if (device.vae_precision != launch::VaePrecision::exact)
    identity.lossy_options.emplace("vae_precision", to_string(device.vae_precision));
  return identity;
}

namespace {

/// The words of records on each set of LoRAs, which have their checksums.
std::vector<batch::LoraRecord> lora_records(const std::vector<lora::LoraSet>& sets) {
  std::vector<batch::LoraRecord> records;
  records.reserve(sets.size());
  for (const lora::LoraSet& set : sets) {
    batch::LoraRecord& record = records.emplace_back();
    for (const lora::Lora& lora : set) {
      record.identity.push_back({.sha256 = lora.sha256,
                                 .strength = lora.strength,
                                 .experts = std::string(to_string(lora.experts))});
      record.files.push_back(lora.file.string());
      record.options.emplace_back("--lora");
      record.options.push_back(
          to_text(LoraChoice{.path = lora.file, .strength = lora.strength, .experts = lora.experts}));
    }
  }
  return records;
}

}  // namespace

batch::RequestSource request_source(const launch::RunInput& input, const launch::EngineHost& host,
                                    const launch::RunDevice& device) {
  return {.command_line = input.overrides,
          .settings = input.settings,
          .model = model_identity(host.weights(), device),
          .lora_sets = lora_records(host.lora_sets()),
          .first_lora_set = host.first_lora_set()};
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

namespace {

/// Whether the run writes a file of this name that the run's record would replace.
bool is_name_of_run(const std::filesystem::path& record, const launch::Options& options,
                    const launch::RunInput& input) {
  const auto whole = [](const std::filesystem::path& path) {
    return std::filesystem::absolute(path).lexically_normal();
  };
  const std::filesystem::path name = whole(record);
  if (name == whole(trace_index(options))) return true;
  if (name.parent_path() != whole(options.output_dir / "run.json").parent_path()) return false;
  if (name.filename() == "wan_batch.log") return true;
  const std::string text = name.filename().string();
  constexpr std::array<std::string_view, 6> ends{".json", ".failed.json", ".draft.json",
                                                 ".mp4",  ".draft.mp4",   ".latent.safetensors"};
  return std::ranges::any_of(ends, [&](std::string_view end) {
    if (!text.ends_with(end)) return false;
    const std::string_view id = std::string_view(text).substr(0, text.size() - end.size());
    return std::ranges::find(input.rows, id, &manifest::ManifestRow::id) != input.rows.end();
  });
}

}  // namespace

void require_free_names(const launch::Options& options, const launch::RunInput& input) {
  const bool is_single = options.save_file && !input.rows.empty();
  store::require_free_names(options.output_dir, is_single ? input.rows.front().id : std::string(),
                            options.save_latents, options.save_file ? "--save-file" : "--output-dir");
  if (!options.run_record) return;
  if (is_name_of_run(*options.run_record, options, input)) {
    fail<UsageError>("--run-record: {} is the name of another file of this run: name another one",
                     printable(options.run_record->string()));
  }
  std::error_code error;
  if (std::filesystem::exists(*options.run_record, error) && !store::is_run_record(*options.run_record)) {
    fail<UsageError>("--run-record: {} is not a record of wan_batch and would be replaced: name another file",
                     printable(options.run_record->string()));
  }
}

std::string obstacle_to(const launch::Options& options, const manifest::ManifestRow& row) {
  const store::OutputFolder folder = store::OutputFolder::view(options.output_dir);
  auto obstacle = store::find_obstacle(folder, row.id, options.save_latents);
  if (!obstacle && options.draft) obstacle = store::find_draft_obstacle(folder, row.id);
  return obstacle.value_or("");
}

}  // namespace wan::apps
