#pragma once

namespace wan::display {

/// What the user wants to see of a run's progress.
enum class ProgressMode { automatic, bar, lines, off };

}  // namespace wan::display
