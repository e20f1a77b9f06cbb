#include "engine/validate.h"

#include "core/check.h"
#include "core/printable.h"
#include "engine/image_condition.h"
#include "engine/prompt_encoder.h"
#include "media/image.h"
#include "sample/sampler.h"
#include "text/cut_text.h"

namespace wan::engine {
namespace {

/// Size of the video of an image.
PixelSize size_of_image(PixelSize image, const Request& request, const model::ModelKind& kind) {
  if (kind.conditioning == model::Conditioning::first_frame)
    return fit_first_frame(image, request.size, kind.geometry).frame;
  return fit_to_area(image, request.size, kind.geometry);
}

}  // namespace

bool has_image(const Request& request, const model::ModelKind& kind) {
  return kind.conditioning == model::Conditioning::image_channels ||
         (kind.conditioning == model::Conditioning::first_frame && !request.image.empty());
}

std::vector<std::string> validate_request(const Request& request, const model::ModelKind& kind,
                                          const HostUse& use) {
  PromptEncoder::cleaned_prompt(request.prompt);
  PromptEncoder::cleaned_negative_prompt(request.negative_prompt);
  try {
    model::require_values_fit(kind, request.boundary, request.guide_scale, "boundary", "sample_guide_scale");
    model::require_size_fits(kind, request.size, "size");
  } catch (const UsageError& error) {
    fail_item("request", "{}", error.what());
  }
  PixelSize size = request.size;
  std::vector<std::string> notes;
  if (has_image(request, kind)) {
    const media::Image image = media::read_image(request.image);
    size = size_of_image({.width = image.width, .height = image.height}, request, kind);
    if (std::string note = image_note(image, request.image); !note.empty()) notes.push_back(std::move(note));
  }
  require_host_memory(request, size, kind, use, host_limit_bytes());
  return notes;
}

std::string image_note(const media::Image& image, const std::filesystem::path& path) {
  if (!image.transparency_dropped) return {};
  return fmt::format(
      "{} has transparent pixels; their transparency is dropped and their colours are used as stored",
      printable(path.string()));
}

std::vector<LostText> lost_texts(const text::Tokenizer& tokenizer, const Request& request) {
  std::vector<LostText> lost;
  const auto look_at = [&](const char* field, const std::string& cleaned) {
    const auto cut = text::find_cut(tokenizer, cleaned);
    if (!cut) return;
    lost.push_back({.field = field,
                    .tokens = static_cast<std::int64_t>(cut->tokens),
                    .used_tokens = static_cast<std::int64_t>(text::most_tokens),
                    .first_words = text::first_words(cut->lost)});
  };
  look_at("prompt", PromptEncoder::cleaned_prompt(request.prompt));
  if (sample::is_guided(request.guide_scale))
    look_at("negative_prompt", PromptEncoder::cleaned_negative_prompt(request.negative_prompt));
  return lost;
}

PixelSize video_size(const Request& request, const model::ModelKind& kind) {
  return has_image(request, kind) ? size_of_image(media::probe_image(request.image), request, kind)
                                  : request.size;
}

void require_prompt(const char* option, const std::string& prompt) {
  try {
    PromptEncoder::cleaned_prompt(prompt);
  } catch (const ItemError& error) {
    fail<UsageError>("{}: {}", option, error.what());
  }
}

}  // namespace wan::engine
