#include "doctor/checkpoint_checks.h"

#include <functional>
#include <set>

#include "batch/text.h"
#include "checkpoint/checkpoint.h"
#include "core/check.h"
#include "engine/model_parts.h"
#include "text/tokenizer.h"

namespace wan::doctor {
namespace {

constexpr const char* fetch_again =
    "fetch the file again (jobs/model_cache.py verify finds damaged ones, download completes)";

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

/// `look` says what it found, or throws.
Finding check_part(const std::string& part, const std::function<std::string()>& look) {
  const std::string check = "checkpoint: " + part;
  try {
    return ok(check, look());
  } catch (const Error& error) {
    return bad(check, batch::printable(error.what(), 600), fetch_again);
  } catch (const std::exception& error) {
    return bad(check, batch::printable(error.what(), 600), fetch_again);
  }
}

std::string look_at_experts(const checkpoint::CheckpointFolder& folder) {
  const engine::ExpertFiles high = engine::open_expert(folder.high_noise_model);
  const engine::ExpertFiles low = engine::open_expert(folder.low_noise_model);
  checkpoint::expect_same_config(high.config, low.config);
  return fmt::format("{} heads, {} blocks, alike in both", high.config.num_heads, high.config.num_layers);
}

}  // namespace

std::vector<Finding> check_checkpoint(const std::filesystem::path& root) {
  checkpoint::CheckpointFolder folder;
  std::vector<Finding> findings{check_part("folder", [&] {
    folder = checkpoint::inspect_checkpoint(root);
    return fmt::format("{}, {}", batch::printable(root.string()), folder.task.name);
  })};
  if (findings.front().verdict != Verdict::ok) return findings;
  const auto expert = [](const std::filesystem::path& path) {
    return [path] { return contents_text(engine::open_expert(path).weights); };
  };
  findings.push_back(check_part("high_noise_model", expert(folder.high_noise_model)));
  findings.push_back(check_part("low_noise_model", expert(folder.low_noise_model)));
  const bool both = findings[1].verdict == Verdict::ok && findings[2].verdict == Verdict::ok;
  if (both) findings.push_back(check_part("experts", [&] { return look_at_experts(folder); }));
  findings.push_back(check_part("text encoder", [&] {
    const auto files = checkpoint::Checkpoint::open_torch_archive(folder.text_encoder);
    static_cast<void>(engine::text_encoder_model(files));
    return contents_text(files);
  }));
  findings.push_back(check_part("VAE", [&] {
    const auto files = checkpoint::Checkpoint::open_torch_archive(folder.vae);
    static_cast<void>(engine::vae_model(files));
    return contents_text(files);
  }));
  findings.push_back(check_part("tokenizer", [&] {
    [[maybe_unused]] const text::Tokenizer readable(folder.tokenizer);
    return std::string("readable");
  }));
  return findings;
}

}  // namespace wan::doctor
