#include "engine/prompt_encoder.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "engine/checkpoint_match.h"
#include "engine/validate.h"
#include "parallel/outline.h"
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

PromptEncoder::PromptEncoder(const std::filesystem::path& tokenizer_folder, TextEncoderModel model,
                             const EncoderOptions& options, comm::Communicator& group,
                             std::shared_ptr<parallel::WeightShards> shards)
    : tokenizer_(tokenizer_folder),
      encoder_(fitting(std::move(model), tokenizer_, tokenizer_folder), options, group, std::move(shards)),
      keeps_weights_(options.keeps_weights()) {}

std::string PromptEncoder::cleaned_prompt(const std::string& prompt) {
  std::string cleaned = text::clean_prompt(prompt);
  if (cleaned.empty()) fail_item("text", "the prompt is empty after cleaning; write what the video shows");
  return cleaned;
}

std::string PromptEncoder::cleaned_negative_prompt(const std::string& prompt) {
  if (prompt.size() > text::longest_prompt_bytes) {
    fail_item("negative_prompt", "the negative prompt is {} bytes long; at most {} are taken: shorten it",
              prompt.size(), text::longest_prompt_bytes);
  }
  std::string cleaned = text::clean_prompt(prompt);
  return cleaned.empty() ? text::clean_prompt(default_negative_prompt()) : cleaned;
}

std::vector<LostText> PromptEncoder::lost_texts(const Request& request) const {
  return engine::lost_texts(tokenizer_, request);
}

bool PromptEncoder::all_known(const std::vector<std::string>& cleaned) const {
  return std::ranges::all_of(cleaned, [this](const std::string& text) { return is_known(text); });
}

void PromptEncoder::load_for(const std::vector<std::string>& cleaned) {
  if (!all_known(cleaned)) encoder_.load();
}

void PromptEncoder::reserve_for(const std::vector<std::string>& cleaned) {
  if (!all_known(cleaned)) encoder_.reserve();
}

void PromptEncoder::release() {
  cache_.clear();
  cache_bytes_ = 0;
  encoder_.release();
}

std::vector<at::Tensor> PromptEncoder::encode(const std::vector<std::string>& cleaned,
                                              const std::vector<std::string>& ahead) {
  const bool loads = has_to_load(cleaned);
  const std::int64_t uses_before = uses_;
  std::vector<at::Tensor> embeddings;
  for (const std::string& text : cleaned) {
    if (!is_known(text)) {
      const std::vector<std::int64_t> ids = tokenizer_.encode(text);
      make_room(encoder_.embedding_bytes(ids.size()), uses_before);  // needed in any case
      encode_one(text, ids);
    }
    CachedText& cached = cache_.at(text);
    cached.last_use = ++uses_;
    embeddings.push_back(cached.embedding);
  }
  if (loads) encode_ahead(ahead, uses_before);
  encoder_.unload();
  if (shortage_) std::rethrow_exception(std::exchange(shortage_, nullptr));
  return embeddings;
}

void PromptEncoder::encode_ahead(const std::vector<std::string>& ahead, std::int64_t kept_since) {
  for (const std::string& text : ahead)  // first, so that none of them makes room for another
    if (const auto known = cache_.find(text); known != cache_.end()) known->second.last_use = ++uses_;
  for (const std::string& text : ahead) {
    if (is_known(text)) continue;
    try {
      const std::vector<std::int64_t> ids = tokenizer_.encode(text);
      if (!make_room(encoder_.embedding_bytes(ids.size()), kept_since)) return;
      encode_one(text, ids);
    } catch (const ItemError&) {  // alike on all ranks; its own item will say so
    }
  }
}

bool PromptEncoder::make_room(std::int64_t bytes, std::int64_t kept_since) {
  while (cache_bytes_ + bytes > cache_limit_bytes) {
    const auto oldest =
        std::ranges::min_element(cache_, {}, [](const auto& entry) { return entry.second.last_use; });
    if (oldest == cache_.end() || oldest->second.last_use > kept_since) return false;
    cache_bytes_ -= oldest->second.bytes;
    cache_.erase(oldest);
  }
  return true;
}

void PromptEncoder::encode_one(const std::string& cleaned, const std::vector<std::int64_t>& ids) {
  CachedText text{.embedding = {}, .bytes = encoder_.embedding_bytes(ids.size()), .last_use = ++uses_};
  bool has_begun = false;
  if (!shortage_) {
    has_begun = true;
    try {
      text.embedding =
          parallel::with_host_memory([&] { return encoder_.encode(ids).cpu(); });  // [tokens, dim]
    } catch (const c10::OutOfMemoryError&) {
      shortage_ = std::current_exception();
    }
  }
  // The other ranks go on to the last text, as their cache tells them.
  if (shortage_) parallel::do_owed_collectives([&] { encoder_.finish_collectives(has_begun); });
  cache_bytes_ += text.bytes;
  cache_.emplace(cleaned, std::move(text));
  ++encoded_texts_;
}

}  // namespace wan::engine
