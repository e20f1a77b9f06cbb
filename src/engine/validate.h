#pragma once

#include <string>
#include <vector>

#include "engine/host_size.h"
#include "media/image.h"
#include "text/tokenizer.h"
#include "wan/engine.h"
#include "wan/request.h"

namespace wan::engine {

/// Whether the video of a request begins with an image: always, never, or where one is given, as the kind is
/// conditioned.
bool has_image(const Request& request, const model::ModelKind& kind);

/// Checks everything about a request that needs no weights: the prompt is not empty after cleaning; the image
/// can be decoded, and its shape fits the latent grid and a video; the video fits the host's memory; a model
/// with one expert gets one guidance scale and no boundary. Throws ItemError. Returns notes for the user on
/// parts of the image that are not used.
std::vector<std::string> validate_request(const Request& request, const model::ModelKind& kind,
                                          const HostUse& use);

/// A note for the user if the image, read from `path`, is not used as it is; else empty.
std::string image_note(const media::Image& image, const std::filesystem::path& path);

/// The ends of the request's texts that are too long for the text encoder, which drops them. Throws
/// ItemError.
std::vector<LostText> lost_texts(const text::Tokenizer& tokenizer, const Request& request);

/// The size of the video that a request makes. Reads the image's header alone. Throws ItemError.
PixelSize video_size(const Request& request, const model::ModelKind& kind);

/// Throws UsageError naming `option` if nothing is left of the prompt after cleaning.
void require_prompt(const char* option, const std::string& prompt);

}  // namespace wan::engine
