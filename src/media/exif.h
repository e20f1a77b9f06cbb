#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace wan::media {

/// The orientation (1..8) that an Exif block asks for: tag 0x0112 of the first image directory. `tiff` begins
/// at the TIFF header ("II*\0" or "MM\0*"). Nothing where the tag is absent, not 1..8, or the block is
/// broken: such a picture is shown as stored, as viewers do.
std::optional<int> exif_orientation(std::span<const std::uint8_t> tiff);

}  // namespace wan::media
