#pragma once

#include <string>

#include "media/bytes.h"

namespace wan::media {

/// The text of a whole tEXt, zTXt or iTXt chunk of a PNG file, decompressed if necessary. Empty if the chunk
/// is damaged, or larger than any text with an orientation. So such a chunk does not spoil the picture.
std::string png_text(ByteView chunk);

}  // namespace wan::media
