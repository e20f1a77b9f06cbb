#pragma once

#include <string>

#include "media/bytes.h"

namespace wan::media {

/// The text of a whole tEXt, zTXt or iTXt chunk of a PNG file, decompressed where it is compressed. Empty if
/// the chunk is damaged or larger than what any orientation needs: such a note spoils no picture.
std::string png_text(ByteView chunk);

}  // namespace wan::media
