#pragma once

#include <c10/util/Exception.h>

#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace wan::parallel {

/// Whether an error of the tensor library says that the host has too little memory: its CPU allocator has no
/// type of its own for that.
bool is_host_shortage(const c10::Error& error);

/// The first line of what the library says, without its backtrace.
std::string describe_shortage(const c10::Error& error);

/// Throws c10::OutOfMemoryError with that message.
[[noreturn]] void throw_shortage(const std::string& message);

/// Runs `work`. Where memory runs out, on the GPU or the host, by the tensor library's allocators or by new,
/// it throws c10::OutOfMemoryError.
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
    throw_shortage("the host has no such amount of memory");
  }
}

}  // namespace wan::parallel
