#pragma once

#include <chrono>
#include <string>

namespace wan {

/// A moment, its fraction of a second cut off, "2026-11-29T05:29:25Z".
std::string utc_text_s(std::chrono::system_clock::time_point time);
/// A moment to the microsecond, "2026-11-29T05:29:25.123456Z".
std::string utc_text_us(std::chrono::system_clock::time_point time);

}  // namespace wan
