#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace wan::text {

/// What the text encoder takes, `</s>` counted; the reference pads to as many and cuts the rest off.
inline constexpr std::size_t most_tokens = 512;

/// A text that is longer than the encoder takes.
struct CutText {
  std::size_t tokens = 0;  ///< of the whole text, `</s>` counted
  std::string lost;        ///< from the first word on that is not used, or used in part
};

/// What of a cleaned text (clean_prompt) goes beyond `max_tokens`; nothing if all of it is used.
std::optional<CutText> find_cut(const Tokenizer& tokenizer, std::string_view cleaned,
                                std::size_t max_tokens = most_tokens);

/// The first words of a text, for a message: at most about 60 bytes.
std::string first_words(std::string_view text);

}  // namespace wan::text
