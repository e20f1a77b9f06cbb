#pragma once

#include <string>
#include <string_view>

namespace wan::text {

/// Undoes the usual damage of text that went through web pages and word processors (model.md 2.2), all but
/// the mojibake repair: character references, C1 controls, ligatures, full-width forms, curly quotes, line
/// breaks, terminal escapes, control characters; then Unicode NFC. Works line by line; from the first line
/// with a '<' on, character references are left alone. Invalid UTF-8 becomes U+FFFD. Throws Error only if
/// memory runs out.
std::string fix_text(std::string_view utf8);

}  // namespace wan::text
