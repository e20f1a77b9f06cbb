#pragma once

#include <hdf5.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "core/check.h"

namespace wan::trace {

/// Owns one HDF5 identifier and closes it with the function for its kind.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(other.release()), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle();

  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  hid_t release();

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// The library's description of the last failed call: the cause, and the call in parentheses. Empties the
/// library's error stack.
std::string error_stack_text();

/// Stops the library from printing its errors to stderr, on this thread, and from cleaning up at the
/// program's end. Owners close every handle, and HDF5 1.10 crashes in that clean-up after the disk was full.
/// It must come before any other use of HDF5 on this thread.
void prepare_hdf5();

/// Throws Error, or StorageError if the disk is at fault, with the error stack: "cannot <doing> PATH: ...".
[[noreturn]] void fail_with_stack(std::string_view doing, const std::filesystem::path& path);

/// The same if `status` is negative.
template <typename Status>
Status checked(Status status, std::string_view doing, const std::filesystem::path& path) {
  if (status < 0) fail_with_stack(fmt::format("{} in", doing), path);
  return status;
}

// Each function throws Error with `path`.
/// Creates a new file in the default format, which every HDF5 reader since 1.8 knows. Fails if the path
/// exists, because a link would lead elsewhere. Neither this function nor open_file() takes a lock: parallel
/// file systems often refuse locks, and a user may look into a running job's trace.
Handle create_file(const std::filesystem::path& path);
Handle open_file(const std::filesystem::path& path);
Handle utf8_string_type(const std::filesystem::path& path);  ///< text of variable length

/// Sets a scalar attribute. Text is UTF-8. A zero byte would end it.
void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   const std::string& value);
void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   std::int64_t value);
void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   double value);

}  // namespace wan::trace
