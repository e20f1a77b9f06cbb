#pragma once

#include <string>
#include <string_view>

namespace wan::text {

/// Repairs the usual damage of text from web pages and word processors (model.md 2.2), except mojibake:
/// character references, C1 controls, ligatures, full-width forms, curly quotes, line breaks, terminal
/// escapes, control characters. Then applies Unicode NFC. Works line by line. From the first line with a '<'
/// on, character references stay. Invalid UTF-8 becomes U+FFFD. Throws Error only if memory runs out.
std::string fix_text(std::string_view utf8);

}  // namespace wan::text
