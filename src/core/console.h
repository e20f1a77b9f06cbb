#pragma once

#include <cstdio>
#include <string_view>

namespace wan {

/// Writes and flushes. A console that takes nothing (a full disk behind it, a closed pipe or terminal) is no
/// error: the console is not the job.
void write_console(std::FILE* stream, std::string_view text) noexcept;

/// Makes the process outlive its console. To be called first in main(): ignores SIGPIPE (a reader that has
/// ended) and SIGHUP (a terminal that was closed), and opens /dev/null in place of closed standard streams,
/// so that no file of the job gets their numbers and with them the messages.
void outlive_console() noexcept;

/// Writes what a program was asked to tell to standard output. A reader that has seen enough (`| head`) is no
/// error; throws Error if it cannot be written for another reason.
void print_result(std::string_view text);

}  // namespace wan
