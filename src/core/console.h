#pragma once

#include <cstdio>
#include <string_view>

namespace wan {

/// Writes and flushes. Ignores failures (a full disk, a closed pipe or terminal): the job must not depend on
/// its console.
void write_console(std::FILE* stream, std::string_view text) noexcept;

/// Lets the process outlive its console. Call it first in main(). Ignores SIGPIPE (the reader has ended) and
/// SIGHUP (the terminal was closed). Opens /dev/null in place of closed standard streams. Otherwise a file of
/// the job could get such a stream's number and receive its messages.
void outlive_console() noexcept;

/// Writes the output that the user asked for to standard output. It is no error if the reader ends early (`|
/// head`). Throws Error if writing fails for another reason.
void print_result(std::string_view text);

}  // namespace wan
