#pragma once

#include <string>
#include <vector>

#include "wan/request.h"

namespace wan::engine {

/// What can be said of a request without a checkpoint's weights: prompt not empty after cleaning, image
/// decodable and of a shape that fits the latent grid and a video. Throws ItemError. Returns notes for the
/// user: what of the image is not used.
std::vector<std::string> validate_request(const Request& request, TaskKind kind);

/// Size of the video that a request makes, from its image's header. Throws ItemError.
PixelSize video_size(const Request& request, TaskKind kind);

/// Throws UsageError naming `option` if nothing is left of the prompt after cleaning.
void require_prompt(const char* option, const std::string& prompt);

}  // namespace wan::engine
