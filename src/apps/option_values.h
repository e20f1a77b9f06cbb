#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "manifest/manifest.h"

namespace wan::apps {

// Values of options. All throw ValueError.

/// A text for the model, in UTF-8.
std::string parse_text(std::string_view text);

/// The path of a video, which ends in .mp4.
std::filesystem::path parse_video_path(std::string_view text);

/// "I/N": shard I, from 0, of N.
manifest::Shard parse_shard(std::string_view text);

/// FFmpeg's name of an encoder. The encoder itself reports whether it exists.
std::string parse_codec(std::string_view text);

/// "1", "1/2" or "1/4" as the number that a size is divided by.
int parse_draft_scale(std::string_view text);

}  // namespace wan::apps
