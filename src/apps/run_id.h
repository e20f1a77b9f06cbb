#pragma once

#include <string>

namespace wan::apps {

/// A new id for one start of a program, "20261128T192030Z-1a2b3c4d": it names the start in its records and its
/// trace files. Made on one rank and sent to the others.
std::string new_run_id();

}  // namespace wan::apps
