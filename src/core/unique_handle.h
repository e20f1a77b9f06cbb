#pragma once

#include <utility>

namespace wan {

/// Owns a handle of a library and closes it once. Move-only. `Closer` describes the handle:
///   Value                        its type
///   static Value none()          the value that means "no handle"; it is never closed
///   static void close(Value)     closes it; must not throw
template <typename Closer>
class UniqueHandle {
 public:
  // Clang 14 needs the typename.
  using Value = typename Closer::Value;  // NOLINT(readability-redundant-typename)

  UniqueHandle() = default;
  explicit UniqueHandle(Value value) noexcept : value_(value) {}
  UniqueHandle(UniqueHandle&& other) noexcept : value_(other.release()) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueHandle(const UniqueHandle&) = delete;
  UniqueHandle& operator=(const UniqueHandle&) = delete;
  ~UniqueHandle() { reset(); }

  Value get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ != Closer::none(); }
  /// Gives up ownership. The handle is then never closed here.
  Value release() noexcept { return std::exchange(value_, Closer::none()); }
  /// Closes the handle and owns `value` instead.
  void reset(Value value = Closer::none()) noexcept {
    const Value closing = std::exchange(value_, value);
    if (closing != Closer::none()) Closer::close(closing);
  }

 private:
  Value value_ = Closer::none();
};

}  // namespace wan
