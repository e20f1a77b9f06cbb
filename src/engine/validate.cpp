#include "engine/validate.h"

#include "core/check.h"
#include "engine/image_condition.h"
#include "engine/text_stage.h"
#include "media/image.h"

namespace wan::engine {

std::vector<std::string> validate_request(const Request& request, TaskKind kind) {
  TextStage::cleaned_prompt(request.prompt);
  if (kind == TaskKind::t2v) return {};
  const media::Image image = media::read_image(request.image);
  fit_to_area({.width = image.width, .height = image.height}, request.size);
  if (!image.transparency_dropped) return {};
  return {fmt::format(
      "{} has transparent pixels; their transparency is dropped and their colours are used as stored",
      request.image.string())};
}

PixelSize video_size(const Request& request, TaskKind kind) {
  return kind == TaskKind::t2v ? request.size : fit_to_area(media::probe_image(request.image), request.size);
}

void require_prompt(const char* option, const std::string& prompt) {
  try {
    TextStage::cleaned_prompt(prompt);
  } catch (const ItemError& error) {
    fail<UsageError>("{}: {}", option, error.what());
  }
}

}  // namespace wan::engine
