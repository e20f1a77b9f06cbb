#pragma once

#include <c10/util/Exception.h>

#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace wan::parallel {

/// Whether an error of the tensor library means that the host has too little memory. The library's CPU
/// allocator has no type of its own for that.
bool is_host_shortage(const c10::Error& error);

/// The first line of the library's message, without its backtrace.
std::string describe_shortage(const c10::Error& error);

/// Throws c10::OutOfMemoryError with that message.
[[noreturn]] void throw_shortage(const std::string& message);

/// Runs `work`. If memory runs out, on the GPU or the host, in the tensor library's allocators or in new, it
/// throws c10::OutOfMemoryError.
template <typename Work>
auto with_host_memory(Work&& work) -> decltype(std::forward<Work>(work)()) {
  try {
    return std::forward<Work>(work)();
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const c10::Error& error) {
    if (!is_host_shortage(error)) throw;
    throw_shortage(describe_shortage(error));
  } catch (const std::bad_alloc&) {
    throw_shortage("the host refused memory");
  } catch (const std::length_error&) {  // a container's size beyond all bounds
    throw_shortage("the host does not have that much memory");
  }
}

}  // namespace wan::parallel
