#include "doctor/checkpoint_checks.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "checkpoint/dialects/dialect.h"
#include "checkpoint/folder_notes.h"
#include "core/check.h"
#include "core/strings.h"
#include "engine/checkpoint_match.h"
#include "engine/model_parts.h"
#include "text/tokenizer.h"

namespace wan::doctor {
namespace {

constexpr std::size_t max_line_bytes = 600;
constexpr const char* fetch_again =
    "fetch the file again (jobs/model_cache.py verify finds damaged ones, download completes)";

std::string contents_text(checkpoint::Part part, const checkpoint::Checkpoint& files) {
  std::set<std::filesystem::path> paths;
  for (const auto& [name, entry] : files.entries()) paths.insert(entry.file);
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const std::filesystem::path& path : paths) {
    const auto size = std::filesystem::file_size(path, error);
    if (!error) bytes += size;
  }
  return fmt::format("{} tensors in {} file{}, {}, {}", files.entries().size(), paths.size(),
                     paths.size() == 1 ? "" : "s", bytes_text(bytes),
                     checkpoint::form_text(part, files.entries()));
}

/// `look` returns a description, or throws.
Finding check_part(const std::string& part, const std::function<std::string()>& look,
                   const std::string& remedy = fetch_again) {
  const std::string check = "checkpoint: " + part;
  try {
    return ok(check, look());
  } catch (const std::exception& error) {
    return bad(check, printable_lines(error.what(), max_line_bytes), remedy);
  }
}

/// A part that was read. Empty after a failed check.
template <typename T>
using Part = std::optional<T>;

/// `configs`: of each expert.
Finding check_experts(const checkpoint::CheckpointFolder& folder,
                      const std::vector<Part<checkpoint::TransformerConfig>>& configs) {
  return check_part("experts", [&] {
    const checkpoint::TransformerConfig& first = *configs.front();
    for (std::size_t i = 1; i < configs.size(); ++i) {
      checkpoint::expect_same_config(first, folder.experts.front().name(), *configs[i],
                                     folder.experts[i].name());
    }
    return fmt::format("{} heads, {} blocks, alike in {}", first.num_heads, first.num_layers,
                       configs.size() == 2 ? "both" : "all");
  });
}

Finding check_tokenizer(const checkpoint::CheckpointFolder& folder,
                        const Part<checkpoint::TextEncoderConfig>& encoder) {
  return check_part("tokenizer", [&] {
    const text::Tokenizer tokenizer(folder.tokenizer);
    if (!encoder) return std::string("readable");
    engine::require_tokenizer_fits(folder.tokenizer, tokenizer, *encoder);
    return fmt::format("{} ids, {} embeddings", tokenizer.vocabulary_size(), encoder->vocabulary);
  });
}

void add_notes(const checkpoint::CheckpointFolder& folder, std::vector<Finding>& findings) {
  for (const std::string& note : checkpoint::folder_notes(folder)) {
    findings.push_back(warn("checkpoint: folder", printable(note, 600),
                            "if this is on purpose, ignore it; otherwise use the official files only"));
  }
}

}  // namespace

std::vector<Finding> check_checkpoint(const std::filesystem::path& root, const std::string& option,
                                      const checkpoint::GivenParts& parts) {
  checkpoint::CheckpointFolder folder;
  std::vector<Finding> findings{check_part(
      "folder",
      [&] {
        folder = checkpoint::inspect_checkpoint(root, parts);
        return fmt::format("{}, {}", printable(folder.root.string()), folder.task.name);
      },
      fmt::format("give {}the folder of a checkpoint, official or of Diffusers (jobs/model_cache.py "
                  "download fetches one)",
                  option.empty() ? "" : option + " "))};
  if (findings.front().verdict != Verdict::ok) return findings;
  std::vector<Part<checkpoint::TransformerConfig>> experts(folder.experts.size());
  Part<checkpoint::TextEncoderConfig> encoder;
  for (std::size_t i = 0; i < experts.size(); ++i) {
    findings.push_back(check_part(folder.experts[i].name(), [&] {
      const engine::ExpertFiles files = engine::open_expert(folder.experts[i].path);
      engine::require_image_branch(folder, files.config);
      experts[i] = files.config;
      return contents_text(checkpoint::Part::transformer, files.weights);
    }));
  }
  const bool are_readable =
      std::ranges::all_of(experts, [](const auto& config) { return config.has_value(); });
  if (are_readable && experts.size() > 1) findings.push_back(check_experts(folder, experts));
  findings.push_back(check_part("text encoder", [&] {
    const auto files = checkpoint::Checkpoint::open_part(checkpoint::Part::text_encoder, folder.text_encoder);
    encoder = engine::text_encoder_model(files).config;
    if (experts.front()) engine::require_text_width(folder, *encoder, *experts.front());
    return contents_text(checkpoint::Part::text_encoder, files);
  }));
  if (!folder.image_encoder.empty()) {
    findings.push_back(check_part("image encoder", [&] {
      const auto files =
          checkpoint::Checkpoint::open_part(checkpoint::Part::image_encoder, folder.image_encoder);
      const auto clip = engine::image_encoder_model(files).config;
      if (experts.front()) engine::require_image_width(folder, clip, *experts.front());
      return contents_text(checkpoint::Part::image_encoder, files);
    }));
  }
  findings.push_back(check_part("VAE", [&] {
    const auto files = checkpoint::Checkpoint::open_part(checkpoint::Part::vae, folder.vae);
    engine::require_vae_fits(folder, engine::vae_model(files).config);
    return contents_text(checkpoint::Part::vae, files);
  }));
  findings.push_back(check_tokenizer(folder, encoder));
  if (are_readable) add_notes(folder, findings);
  return findings;
}

}  // namespace wan::doctor
