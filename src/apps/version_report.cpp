#include "apps/version_report.h"

#include <ATen/Version.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <mpi.h>

#include <array>

#include "media/ffmpeg.h"
#include "wan/version.h"

namespace wan::apps {

std::map<std::string, std::string> library_versions() {
  return {{"LibTorch", WAN_TORCH_VERSION}, {"FFmpeg", media::ffmpeg_version()}};
}

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> mpi{};
  int length = 0;
  if (MPI_Get_library_version(mpi.data(), &length) != MPI_SUCCESS) length = 0;
  const std::string text(mpi.data(), static_cast<std::size_t>(length));
  return text.substr(0, text.find(','));
}

std::string hdf5_version() {
  unsigned int major = 0;
  unsigned int minor = 0;
  unsigned int release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) major = minor = release = 0;
  return fmt::format("{}.{}.{}", major, minor, release);
}

std::string version_report() {
  return fmt::format(
      "wan_batch {}\n"
      "LibTorch   {}\n"
      "MPI        {}\n"
      "HDF5       {}\n"
      "FFmpeg     {}\n"
      "built for  {}\n",
      version(), WAN_TORCH_VERSION, mpi_version(), hdf5_version(), media::ffmpeg_version(), WAN_GPU_SUPPORT);
}

}  // namespace wan::apps
