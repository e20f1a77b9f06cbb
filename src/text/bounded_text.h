#pragma once

#include <string>
#include <string_view>

namespace wan::text {

/// Appends to the text that a tokenizer.json makes of a prompt. Throws Error, before it takes memory, if the
/// text would be longer than any that a good file makes: a hostile one may replace a letter by megabytes.
void append_bounded(std::string& text, std::string_view more);

}  // namespace wan::text
