#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace wan::text {

/// The most tokens that the text encoder reads, `</s>` included. The reference pads to this number and cuts
/// the rest off.
inline constexpr std::size_t most_tokens = 512;

/// A text that is longer than the encoder's limit.
struct CutText {
  std::size_t tokens = 0;  ///< tokens of the whole text, `</s>` included
  std::string lost;        ///< the text from the first word that is not used completely
};

/// The part of a cleaned text (clean_prompt) beyond `max_tokens`. Nothing if the whole text is used.
std::optional<CutText> find_cut(const Tokenizer& tokenizer, std::string_view cleaned,
                                std::size_t max_tokens = most_tokens);

/// The first words of a text, for a message: at most about 60 bytes.
std::string first_words(std::string_view text);

}  // namespace wan::text
