#include "engine/text_stage.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "engine/checkpoint_match.h"
#include "engine/owed_collectives.h"
#include "text/clean.h"

namespace wan::engine {
namespace {

/// The model, if the tokenizer's ids are all in its table; found before any weight is read.
TextEncoderModel fitting(TextEncoderModel model, const text::Tokenizer& tokenizer,
                         const std::filesystem::path& tokenizer_folder) {
  require_tokenizer_fits(tokenizer_folder, tokenizer, model.config);
  return model;
}

}  // namespace

TextStage::TextStage(const std::filesystem::path& tokenizer_folder, TextEncoderModel model,
                     const TextEncoderOptions& options, comm::Communicator& group)
    : tokenizer_(tokenizer_folder),
      encoder_(fitting(std::move(model), tokenizer_, tokenizer_folder), options, group),
      resident_(options.resident) {}

std::string TextStage::cleaned_prompt(const std::string& prompt) {
  std::string cleaned = text::clean_prompt(prompt);
  if (cleaned.empty()) fail_item("text", "the prompt is empty after cleaning; write what the video shows");
  return cleaned;
}

void TextStage::expect(std::vector<std::string> cleaned) { expected_ = std::move(cleaned); }

bool TextStage::all_known(const std::vector<std::string>& cleaned) const {
  return std::ranges::all_of(cleaned, [this](const std::string& text) { return is_known(text); });
}

void TextStage::load_for(const std::vector<std::string>& cleaned) {
  if (!all_known(cleaned)) encoder_.load();
}

void TextStage::reserve_for(const std::vector<std::string>& cleaned) {
  if (!all_known(cleaned)) encoder_.reserve();
}

void TextStage::release() {
  cache_.clear();
  encoder_.release();
}

std::vector<at::Tensor> TextStage::encode(const std::vector<std::string>& cleaned) {
  const bool known = all_known(cleaned);
  std::vector<at::Tensor> embeddings;
  for (const std::string& text : cleaned) {
    if (!is_known(text)) encode_one(text);
    CachedText& cached = cache_.at(text);
    cached.last_use = ++uses_;
    embeddings.push_back(cached.embedding);
  }
  if (!known && !resident_) encode_expected();
  encoder_.unload();
  if (shortage_) std::rethrow_exception(std::exchange(shortage_, nullptr));
  return embeddings;
}

void TextStage::encode_expected() {
  std::size_t ahead = 0;
  for (const std::string& text : expected_) {
    if (cache_.size() >= cache_limit || ahead == ahead_limit) break;
    if (is_known(text)) continue;
    encode_one(text);
    ++ahead;
  }
}

void TextStage::encode_one(const std::string& cleaned) {
  if (cache_.size() >= cache_limit) {
    cache_.erase(
        std::ranges::min_element(cache_, {}, [](const auto& entry) { return entry.second.last_use; }));
  }
  CachedText text{.embedding = {}, .last_use = ++uses_};
  bool has_begun = false;
  if (!shortage_) {
    const std::vector<std::int64_t> ids = tokenizer_.encode(cleaned);
    has_begun = true;
    try {
      text.embedding = encoder_.encode(ids).cpu();  // [tokens, dim]
    } catch (const c10::OutOfMemoryError&) {
      shortage_ = std::current_exception();
    }
  }
  // The other ranks go on to the last text, as their cache tells them.
  if (shortage_) do_owed_collectives([&] { encoder_.take_part(has_begun); });
  cache_.emplace(cleaned, std::move(text));
  ++encoded_texts_;
}

}  // namespace wan::engine
