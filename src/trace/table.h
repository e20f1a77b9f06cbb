#pragma once

#include <array>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "trace/hdf5.h"

namespace wan::trace {

/// One extendible one-dimensional dataset.
class Column {
 public:
  /// Makes an empty dataset `name` of HDF5 type `type` in `group`, with a `units` attribute. The file grows
  /// by `chunk_rows` rows at a time. `path` is the file's path, for messages. Throws Error.
  Column(const Handle& group, std::filesystem::path path, std::string name, const std::string& units,
         hid_t type, hsize_t chunk_rows);

  /// Adds `count` values of the column's type. Throws Error.
  void append(const void* values, hsize_t count);

 private:
  std::filesystem::path path_;
  std::string name_;
  Handle type_;
  Handle dataset_;
  hsize_t rows_ = 0;
};

/// The HDF5 type of a C++ type. Text (const char*) is UTF-8 of any length.
template <typename Value>
Handle hdf5_type(const std::filesystem::path& path) {
  if constexpr (std::is_same_v<Value, const char*>) {
    return utf8_string_type(path);
  } else {
    static_assert(std::is_same_v<Value, std::int8_t> || std::is_same_v<Value, std::int32_t> ||
                  std::is_same_v<Value, std::int64_t> || std::is_same_v<Value, std::uint64_t> ||
                  std::is_same_v<Value, double>);
    hid_t native = H5T_NATIVE_DOUBLE;
    if constexpr (std::is_same_v<Value, std::int8_t>) native = H5T_NATIVE_INT8;
    if constexpr (std::is_same_v<Value, std::int32_t>) native = H5T_NATIVE_INT32;
    if constexpr (std::is_same_v<Value, std::int64_t>) native = H5T_NATIVE_INT64;
    if constexpr (std::is_same_v<Value, std::uint64_t>) native = H5T_NATIVE_UINT64;
    return {checked(H5Tcopy(native), "make a number type", path), H5Tclose};
  }
}

/// A group of columns of equal length. Each column is filled from one member of `Row`.
template <typename Row>
class Table {
 public:
  /// Makes the group `name` in `file`. Throws Error.
  Table(const Handle& file, std::filesystem::path path, const std::string& name, hsize_t chunk_rows)
      : path_(std::move(path)),
        group_(checked(H5Gcreate2(file.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                       fmt::format("make group '{}'", name), path_),
               H5Gclose),
        chunk_rows_(chunk_rows) {}

  /// Adds a column of the values that `get` returns for the rows. `units` is "1" for names and counts. Throws
  /// Error.
  template <typename Get>
  void add_column(const std::string& name, const std::string& units, Get get) {
    using Value = std::invoke_result_t<Get, const Row&>;
    add_column(name, units, get, hdf5_type<Value>(path_));
  }

  /// The same for an HDF5 type that no C++ type implies, such as an enumeration.
  template <typename Get>
  void add_column(const std::string& name, const std::string& units, Get get, const Handle& type) {
    using Value = std::invoke_result_t<Get, const Row&>;
    columns_.push_back({Column(group_, path_, name, units, type.get(), chunk_rows_),
                        [get](Column& column, std::span<const Row> rows) {
                          std::vector<Value> values;
                          values.reserve(rows.size());
                          for (const Row& row : rows) values.push_back(get(row));
                          column.append(static_cast<const void*>(values.data()), values.size());
                        }});
  }

  /// Appends the rows to all columns. Throws Error; the columns may then differ in length.
  void append(std::span<const Row> rows) {
    if (rows.empty()) return;
    for (Filled& filled : columns_) filled.fill(filled.column, rows);
  }

 private:
  struct Filled {
    Column column;
    std::function<void(Column&, std::span<const Row>)> fill;
  };
  std::filesystem::path path_;
  Handle group_;
  hsize_t chunk_rows_;
  std::vector<Filled> columns_;
};

}  // namespace wan::trace
