#pragma once

#include <hdf5.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "core/check.h"

namespace wan::trace {

/// Owns one HDF5 identifier and closes it by its kind's own function.
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

/// The library's own account of the last failed call: the cause, and in parentheses the call; empties its
/// error stack.
std::string error_stack_text();

/// Keeps the library from printing its errors to stderr by itself, and from cleaning up at the program's end:
/// every handle is closed by its owner, and HDF5 1.10 crashes there when a disk was full. Process-wide, at
/// the first call only, which must come before any other use of HDF5.
void prepare_hdf5();

/// Throws Error, or StorageError if the disk is at fault, with the error stack: "cannot <doing> PATH: ...".
[[noreturn]] void fail_with_stack(std::string_view doing, const std::filesystem::path& path);

/// Does so if `status` is negative.
template <typename Status>
Status checked(Status status, std::string_view doing, const std::filesystem::path& path) {
  if (status < 0) fail_with_stack(fmt::format("{} in", doing), path);
  return status;
}

// Each throws Error naming `path`.
/// Creates a file that is not there yet (a link would lead elsewhere), in the default format, which every
/// HDF5 reader since 1.8 knows. No lock is taken, neither here nor in open_file(): a trace file has one
/// writer by its name, parallel file systems often refuse locks, and one may look into a running job's trace.
Handle create_file(const std::filesystem::path& path);
Handle open_file(const std::filesystem::path& path);
Handle utf8_string_type(const std::filesystem::path& path);  ///< of variable length

/// Sets a scalar attribute. Text is UTF-8; a zero byte would end it.
void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   const std::string& value);
void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   std::int64_t value);
void set_attribute(const Handle& object, const std::filesystem::path& path, const std::string& name,
                   double value);

}  // namespace wan::trace
