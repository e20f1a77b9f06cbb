#pragma once

#include "trace/hdf5.h"
#include "trace/image_file.h"

namespace wan::trace {

/// Creates an HDF5 file in `image`, which is empty and must outlive it, in the default format. HDF5 writes
/// into the image's memory only; what it has flushed is on the disk after image.publish(). Throws Error.
Handle create_in_image(ImageFile& image, const std::filesystem::path& path);

}  // namespace wan::trace
