// A driver of HDF5's virtual file layer over ImageFile.
#include "trace/image_driver.h"

#include <hdf5.h>
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

#include <algorithm>
#include <array>
#include <exception>
#include <memory>

namespace wan::trace {
namespace {

/// The driver's own value in a list of access properties. HDF5 copies it byte by byte.
struct Access {
  ImageFile* image;
};

struct OpenFile {
  H5FD_t common{};  ///< HDF5's part, which comes first
  ImageFile* image = nullptr;
  haddr_t allocated_bytes = 0;
};

OpenFile& own(H5FD_t* file) { return *reinterpret_cast<OpenFile*>(file); }
const OpenFile& own(const H5FD_t* file) { return *reinterpret_cast<const OpenFile*>(file); }

/// Exceptions must not pass through C code.
template <typename Work>
herr_t guarded(Work&& work) {
  try {
    work();
    return 0;
  } catch (const std::exception&) {
    return -1;
  }
}

H5FD_t* open_image(const char* /*name*/, unsigned /*flags*/, hid_t access, haddr_t /*most_bytes*/) {
  const auto* info = static_cast<const Access*>(H5Pget_driver_info(access));
  if (info == nullptr) return nullptr;
  auto file = std::make_unique<OpenFile>();
  file->image = info->image;
  return &file.release()->common;
}

herr_t close_image(H5FD_t* file) {
  const std::unique_ptr<OpenFile> owned(&own(file));
  return 0;
}

herr_t query(const H5FD_t* /*file*/, unsigned long* features) {
  *features = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
              H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t get_allocated(const H5FD_t* file, H5FD_mem_t /*type*/) { return own(file).allocated_bytes; }

herr_t set_allocated(H5FD_t* file, H5FD_mem_t /*type*/, haddr_t bytes) {
  own(file).allocated_bytes = bytes;
  return 0;
}

haddr_t get_end(const H5FD_t* file, H5FD_mem_t /*type*/) { return own(file).image->size(); }

herr_t read_image(H5FD_t* file, H5FD_mem_t /*type*/, hid_t /*transfer*/, haddr_t offset, std::size_t bytes,
                  void* buffer) {
  return guarded([&] { own(file).image->read(offset, {static_cast<std::byte*>(buffer), bytes}); });
}

herr_t write_image(H5FD_t* file, H5FD_mem_t /*type*/, hid_t /*transfer*/, haddr_t offset, std::size_t bytes,
                   const void* buffer) {
  return guarded([&] { own(file).image->write(offset, {static_cast<const std::byte*>(buffer), bytes}); });
}

herr_t truncate(H5FD_t* file, hid_t /*transfer*/, hbool_t /*closing*/) {
  OpenFile& open = own(file);
  if (open.image->size() == open.allocated_bytes) return 0;
  return guarded([&] { open.image->resize(open.allocated_bytes); });
}

H5FD_class_t describe_driver() {
  constexpr haddr_t most_bytes = haddr_t{1} << 62U;
  H5FD_class_t driver{};
#if H5_VERSION_GE(1, 13, 2)
  constexpr H5FD_class_value_t free_value = 300;  // HDF5 leaves 256 to 511 for tests
  driver.version = H5FD_CLASS_VERSION;
  driver.value = free_value;
#endif
  driver.name = "wan_image";
  driver.maxaddr = most_bytes;
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(Access);
  driver.open = open_image;
  driver.close = close_image;
  driver.query = query;
  driver.get_eoa = get_allocated;
  driver.set_eoa = set_allocated;
  driver.get_eof = get_end;
  driver.read = read_image;
  driver.write = write_image;
  driver.truncate = truncate;
  constexpr std::array<H5FD_mem_t, H5FD_MEM_NTYPES> one_list_for_each = H5FD_FLMAP_DICHOTOMY;
  std::ranges::copy(one_list_for_each, driver.fl_map);
  return driver;
}

}  // namespace

Handle create_in_image(ImageFile& image, const std::filesystem::path& path) {
  prepare_hdf5();
  static const H5FD_class_t description = describe_driver();
  const Handle driver(checked(H5FDregister(&description), "prepare the driver", path), H5FDunregister);
  const Handle access(checked(H5Pcreate(H5P_FILE_ACCESS), "set up file access", path), H5Pclose);
  const Access info{.image = &image};
  checked(H5Pset_driver(access.get(), driver.get(), &info), "set up file access", path);
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get());
  if (id < 0) fail_with_stack("create", path);
  return {id, H5Fclose};
}

}  // namespace wan::trace
