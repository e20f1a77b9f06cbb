#pragma once

#include <string>
#include <vector>

#include "engine/host_size.h"
#include "media/image.h"
#include "text/tokenizer.h"
#include "wan/engine.h"
#include "wan/request.h"

namespace wan::engine {

/// What can be said of a request without a checkpoint's weights: prompt not empty after cleaning, image
/// decodable and of a shape that fits the latent grid and a video, video not
/// larger than the host's memory. Throws ItemError. Returns notes for the user: what of the image is not
/// used.
std::vector<std::string> validate_request(const Request& request, const model::ModelKind& kind,
                                          const HostUse& use);

/// What to tell the user of an image, read from `path`, that is not used as it is; empty: nothing.
std::string image_note(const media::Image& image, const std::filesystem::path& path);

/// What of the request's texts is beyond what the text encoder takes; it is not used. Throws ItemError.
std::vector<LostText> lost_texts(const text::Tokenizer& tokenizer, const Request& request);

/// Size of the video that a request makes, from its image's header. Throws ItemError.
PixelSize video_size(const Request& request, const model::ModelKind& kind);

/// Throws UsageError naming `option` if nothing is left of the prompt after cleaning.
void require_prompt(const char* option, const std::string& prompt);

}  // namespace wan::engine
