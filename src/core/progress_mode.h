#pragma once

namespace wan {

/// How the user wants to see a run's progress. `automatic`: a bar on a terminal, lines elsewhere.
enum class ProgressMode { automatic, bar, lines, off };

}  // namespace wan
