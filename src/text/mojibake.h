#pragma once

#include <string_view>

namespace wan::text {

/// Whether the text contains UTF-8 that was read as another encoding (`Ã©`, `â€™`, `Г©`, `├⌐`): Latin-1,
/// Latin-2, Windows-1250 to 1254 and 1257, Mac Roman, code page 437. The function judges by signs and accepts
/// letters that occur together in a language. Nothing repairs such text; the caller warns.
bool looks_like_mojibake(std::string_view utf8);

}  // namespace wan::text
