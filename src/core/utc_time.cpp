#include "core/utc_time.h"

#include <fmt/format.h>

#include <array>
#include <ctime>

namespace wan {
namespace {

constexpr std::int64_t us_per_s = 1'000'000;

std::int64_t since_epoch_us(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

/// "2026-11-29T05:29:25", without a zone.
std::string whole_seconds_text(std::time_t seconds) {
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts)};
}

}  // namespace

std::string utc_text_s(std::chrono::system_clock::time_point time) {
  return whole_seconds_text(since_epoch_us(time) / us_per_s) + "Z";
}

std::string utc_text_us(std::chrono::system_clock::time_point time) {
  const std::int64_t moment_us = since_epoch_us(time);
  return fmt::format("{}.{:06}Z", whole_seconds_text(moment_us / us_per_s), moment_us % us_per_s);
}

}  // namespace wan
