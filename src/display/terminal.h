#pragma once

#include <cstdio>
#include <optional>

namespace wan::display {

/// A terminal that somebody looks at.
struct Terminal {
  int columns = 80;
};

/// The terminal that a stream ends in: its own, or that of the MPI launcher (mpirun, mpiexec and similar
/// programs) that reads its pipe. Nothing if there is none, or if the launcher runs on another machine. A
/// pipe to any other program, such as tee, is no terminal.
std::optional<Terminal> terminal_behind(std::FILE* stream);

/// Whether the environment's TERM names a terminal that understands escape codes: not "dumb", and not unset.
bool understands_escapes();

}  // namespace wan::display
