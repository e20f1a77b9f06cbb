#include "trace/table.h"

#include <utility>

namespace wan::trace {

Column::Column(const Handle& group, std::filesystem::path path, std::string name, const std::string& units,
               hid_t type, hsize_t chunk_rows)
    : path_(std::move(path)), name_(std::move(name)) {
  const std::string doing = fmt::format("make column '{}'", name_);
  type_ = Handle(checked(H5Tcopy(type), doing, path_), H5Tclose);
  const hsize_t none = 0;
  const hsize_t unlimited = H5S_UNLIMITED;
  const Handle space(checked(H5Screate_simple(1, &none, &unlimited), doing, path_), H5Sclose);
  const Handle options(checked(H5Pcreate(H5P_DATASET_CREATE), doing, path_), H5Pclose);
  checked(H5Pset_chunk(options.get(), 1, &chunk_rows), doing, path_);
  dataset_ = Handle(checked(H5Dcreate2(group.get(), name_.c_str(), type_.get(), space.get(), H5P_DEFAULT,
                                       options.get(), H5P_DEFAULT),
                            doing, path_),
                    H5Dclose);
  set_attribute(dataset_, path_, "units", units);
}

void Column::append(const void* values, hsize_t count) {
  const std::string doing = fmt::format("add {} rows to column '{}'", count, name_);
  const hsize_t rows = rows_ + count;
  checked(H5Dset_extent(dataset_.get(), &rows), doing, path_);
  const Handle there(checked(H5Dget_space(dataset_.get()), doing, path_), H5Sclose);
  checked(H5Sselect_hyperslab(there.get(), H5S_SELECT_SET, &rows_, nullptr, &count, nullptr), doing, path_);
  const Handle here(checked(H5Screate_simple(1, &count, nullptr), doing, path_), H5Sclose);
  checked(H5Dwrite(dataset_.get(), type_.get(), here.get(), there.get(), H5P_DEFAULT, values), doing, path_);
  rows_ = rows;
}

}  // namespace wan::trace
