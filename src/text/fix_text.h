#pragma once

#include <string>
#include <string_view>

namespace wan::text {

/// Undoes the usual damage of text that went through web pages and word processors (spec 2.2, all of it but
/// the mojibake repair): character references, C1 controls, ligatures, full-width forms, curly quotes, line
/// breaks, terminal escapes, control characters; then Unicode NFC. Works line by line; from the first line
/// with a '<' on, character references are left alone. Invalid UTF-8 becomes U+FFFD. Throws Error only if
/// memory runs out.
std::string fix_text(std::string_view utf8);

/// Whether the text contains a sequence that is UTF-8 read as Latin-1 or Windows-1252 (`Ã©`, `â€™`). Such
/// text is not repaired; the caller warns.
bool looks_like_mojibake(std::string_view utf8);

}  // namespace wan::text
