#pragma once

#include <string>
#include <string_view>

namespace wan::text {

/// Decodes only what is certainly a character reference: `&name;` with a semicolon and an HTML5 name or its
/// spelling in capitals (`&EACUTE;`), `&#digits;`, `&#xhex;`; one to 24 letters or digits. Step 1 of the
/// text fixing (model.md 2.2).
std::string unescape_certain_html(std::string_view utf8);

/// Decodes character references by the HTML5 rules, which also accept old names without a semicolon
/// (`this&not that`). One round; cleaning applies it twice (model.md 2.3).
std::string unescape_html(std::string_view utf8);

/// Bytes 0x80..0x9F read as Windows-1252; the five bytes without a character there stay as they are.
char32_t windows_1252_character(char32_t c1_control);

}  // namespace wan::text
