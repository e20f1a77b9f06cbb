#pragma once

#include <string>
#include <string_view>

namespace wan::text {

/// Decodes only certain character references: `&name;` with a semicolon and an HTML5 name or its spelling in
/// capitals (`&EACUTE;`), `&#digits;`, `&#xhex;`, each with one to 24 letters or digits. This is step 1 of
/// the text fixing (model.md 2.2).
std::string unescape_certain_html(std::string_view utf8);

/// Decodes character references by the HTML5 rules, which also accept old names without a semicolon
/// (`this&not that`). One call is one round; cleaning makes two (model.md 2.3).
std::string unescape_html(std::string_view utf8);

/// Converts bytes 0x80..0x9F as Windows-1252. The five bytes without a character stay as they are.
char32_t windows_1252_character(char32_t c1_control);

}  // namespace wan::text
