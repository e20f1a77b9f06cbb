#include "trace/hdf5.h"

#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

#include "core/file.h"

namespace wan::trace {
namespace {

/// The two ends of the library's error stack: the function that was called, and the lowest cause.
struct StackEnds {
  std::string innermost;
  std::string outermost;
};

/// HDF5 puts line breaks and addresses into its descriptions. Removes both.
std::string tidy(std::string text) {
  std::erase(text, '\n');
  return text.substr(0, text.find(", buf = 0x"));
}

herr_t note_entry(unsigned /*depth*/, const H5E_error2_t* entry, void* ends_pointer) {
  StackEnds& ends = *static_cast<StackEnds*>(ends_pointer);
  const std::string text = tidy(fmt::format("{}: {}", entry->func_name, entry->desc));
  if (ends.innermost.empty()) {
    ends.innermost = text;
  } else {
    ends.outermost = text;
  }
  return 0;
}

Handle access_without_locks(const std::filesystem::path& path) {
  Handle access(checked(H5Pcreate(H5P_FILE_ACCESS), "set up file access", path), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
  checked(H5Pset_file_locking(access.get(), false, true), "turn file locks off", path);
#endif
  return access;
}

void write_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                     hid_t type, const void* value) {
  const std::string doing = fmt::format("set attribute '{}'", name);
  const Handle space(checked(H5Screate(H5S_SCALAR), doing, path), H5Sclose);
  const Handle attribute(
      checked(H5Acreate2(object.get(), name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), doing,
              path),
      H5Aclose);
  checked(H5Awrite(attribute.get(), type, value), doing, path);
}

}  // namespace

Handle& Handle::operator=(Handle&& other) noexcept {
  if (this != &other) {
    if (id_ >= 0) close_(id_);
    close_ = other.close_;
    id_ = other.release();
  }
  return *this;
}

Handle::~Handle() {
  if (id_ >= 0) close_(id_);
}

hid_t Handle::release() { return std::exchange(id_, -1); }

std::string error_stack_text() {
  StackEnds ends;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, note_entry, &ends);
  H5Eclear2(H5E_DEFAULT);
  if (ends.innermost.empty()) return "HDF5 gives no reason";
  return ends.outermost.empty() ? ends.innermost : fmt::format("{} ({})", ends.innermost, ends.outermost);
}

void fail_with_stack(std::string_view doing, const std::filesystem::path& path) {
  const std::string stack = error_stack_text();
  const std::string message = fmt::format("cannot {} {}: {}", doing, path.string(), stack);
  // The library reports a failed system call only in words: "..., errno = 28, ...".
  constexpr std::string_view mark = "errno = ";
  const std::size_t at = stack.find(mark);
  if (at != std::string::npos &&
      is_storage_errno(static_cast<int>(std::strtol(stack.c_str() + at + mark.size(), nullptr, 10)))) {
    throw StorageError(message);
  }
  throw Error(message);
}

void prepare_hdf5() {
  static std::once_flag once;
  std::call_once(once, [] { H5dont_atexit(); });
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // each thread has its own stack of errors
}

Handle create_file(const std::filesystem::path& path) {
  prepare_hdf5();
  const Handle access = access_without_locks(path);
  // HDF5 2.0 would begin with a newer layout. Older programs read this one, and the same content has the same
  // length in each version, which the index of traces needs.
  checked(H5Pset_libver_bounds(access.get(), H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST), "set up file access",
          path);
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, access.get());
  if (id < 0) fail_with_stack("create", path);
  return {id, H5Fclose};
}

Handle open_file(const std::filesystem::path& path) {
  prepare_hdf5();
  const Handle access = access_without_locks(path);
  const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
  if (id < 0) fail("cannot read {} as an HDF5 file: {}", path.string(), error_stack_text());
  return {id, H5Fclose};
}

Handle utf8_string_type(const std::filesystem::path& path) {
  Handle type(checked(H5Tcopy(H5T_C_S1), "make the string type", path), H5Tclose);
  checked(H5Tset_size(type.get(), H5T_VARIABLE), "make the string type", path);
  checked(H5Tset_cset(type.get(), H5T_CSET_UTF8), "make the string type", path);
  return type;
}

void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   const std::string& value) {
  const Handle type = utf8_string_type(path);
  const char* const text = value.c_str();
  write_attribute(object, path, name, type.get(), static_cast<const void*>(&text));
}

void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   std::int64_t value) {
  write_attribute(object, path, name, H5T_NATIVE_INT64, &value);
}

void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   double value) {
  write_attribute(object, path, name, H5T_NATIVE_DOUBLE, &value);
}

}  // namespace wan::trace
