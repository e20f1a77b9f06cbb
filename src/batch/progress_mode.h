#pragma once

namespace wan::batch {

/// What the user wants to see of a run's progress.
enum class ProgressMode { automatic, bar, lines, off };

}  // namespace wan::batch
