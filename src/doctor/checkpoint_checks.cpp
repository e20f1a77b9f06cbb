#include "doctor/checkpoint_checks.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "checkpoint/folder_notes.h"
#include "core/check.h"
#include "core/strings.h"
#include "engine/checkpoint_match.h"
#include "engine/model_parts.h"
#include "text/tokenizer.h"

namespace wan::doctor {
namespace {

constexpr const char* fetch_again =
    "fetch the file again (jobs/model_cache.py verify finds damaged ones, download completes)";
constexpr const char* give_a_folder =
    "give --ckpt-dir the folder of a checkpoint in the official layout (jobs/model_cache.py download fetches "
    "one)";

std::string contents_text(const checkpoint::Checkpoint& files) {
  std::set<std::filesystem::path> paths;
  for (const auto& [name, entry] : files.entries()) paths.insert(entry.file);
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const std::filesystem::path& path : paths) {
    const auto size = std::filesystem::file_size(path, error);
    if (!error) bytes += size;
  }
  return fmt::format("{} tensors in {} file{}, {}", files.entries().size(), paths.size(),
                     paths.size() == 1 ? "" : "s", bytes_text(bytes));
}

/// An error's text. Keeps its line breaks.
std::string printable_lines(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (!shown.empty()) shown += '\n';
    shown += printable(text.substr(0, end), 600);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return shown;
}

/// `look` returns a description, or throws.
Finding check_part(const std::string& part, const std::function<std::string()>& look,
                   const char* remedy = fetch_again) {
  const std::string check = "checkpoint: " + part;
  try {
    return ok(check, look());
  } catch (const std::exception& error) {
    return bad(check, printable_lines(error.what()), remedy);
  }
}

/// A part that was read. Empty after a failed check.
template <typename T>
using Part = std::optional<T>;

Finding check_experts(const Part<checkpoint::TransformerConfig>& high,
                      const Part<checkpoint::TransformerConfig>& low) {
  return check_part("experts", [&] {
    checkpoint::expect_same_config(*high, *low);
    return fmt::format("{} heads, {} blocks, alike in both", high->num_heads, high->num_layers);
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

std::vector<Finding> check_checkpoint(const std::filesystem::path& root) {
  checkpoint::CheckpointFolder folder;
  std::vector<Finding> findings{check_part(
      "folder",
      [&] {
        folder = checkpoint::inspect_checkpoint(root);
        return fmt::format("{}, {}", printable(root.string()), folder.task.name);
      },
      give_a_folder)};
  if (findings.front().verdict != Verdict::ok) return findings;
  Part<checkpoint::TransformerConfig> high;
  Part<checkpoint::TransformerConfig> low;
  Part<checkpoint::TextEncoderConfig> encoder;
  const auto expert = [](const std::filesystem::path& path, Part<checkpoint::TransformerConfig>& config) {
    return [path, &config] {
      const engine::ExpertFiles files = engine::open_expert(path);
      config = files.config;
      return contents_text(files.weights);
    };
  };
  findings.push_back(check_part("high_noise_model", expert(folder.high_noise_model, high)));
  findings.push_back(check_part("low_noise_model", expert(folder.low_noise_model, low)));
  if (high && low) findings.push_back(check_experts(high, low));
  findings.push_back(check_part("text encoder", [&] {
    const auto files = checkpoint::Checkpoint::open_torch_archive(folder.text_encoder);
    encoder = engine::text_encoder_model(files).config;
    if (high) engine::require_text_width(folder, *encoder, *high);
    return contents_text(files);
  }));
  findings.push_back(check_part("VAE", [&] {
    const auto files = checkpoint::Checkpoint::open_torch_archive(folder.vae);
    static_cast<void>(engine::vae_model(files));
    return contents_text(files);
  }));
  findings.push_back(check_tokenizer(folder, encoder));
  if (high && low) add_notes(folder, findings);
  return findings;
}

}  // namespace wan::doctor
