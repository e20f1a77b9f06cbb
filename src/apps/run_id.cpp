#include "apps/run_id.h"

#include <fmt/format.h>

#include <random>

#include "batch/sidecar.h"

namespace wan::apps {

std::string new_run_id() {
  std::random_device random;
  std::string time = batch::utc_now();
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  return fmt::format("{}-{:08x}", time, random());
}

}  // namespace wan::apps
