#include "core/utc_time.h"

#include <fmt/format.h>

#include <array>
#include <ctime>

namespace wan {

std::string utc_text_us(std::chrono::system_clock::time_point time) {
  using std::chrono::microseconds;
  constexpr std::int64_t per_second = 1'000'000;
  const std::int64_t since_epoch_us =
      std::chrono::duration_cast<microseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = since_epoch_us / per_second;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:06}Z", std::string_view(text.data(), length), since_epoch_us % per_second);
}

}  // namespace wan
