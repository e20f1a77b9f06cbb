#pragma once

#include <string_view>

namespace wan::text {

/// Whether the text contains sequences that are UTF-8 read as another encoding (`Ã©`, `â€™`, `Г©`, `├⌐`):
/// Latin-1, Latin-2, Windows-1250 to 1254 and 1257, Mac Roman, code page 437. A judgement by signs: letters
/// that belong together in a language are let pass. Such text is not repaired; the caller warns.
bool looks_like_mojibake(std::string_view utf8);

}  // namespace wan::text
