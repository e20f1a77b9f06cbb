#include "apps/places_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <filesystem>

#include "apps/options.h"
#include "core/console.h"
#include "wan/error.h"

namespace wan::apps {
namespace {

std::string_view device_word(launch::Device device) {
  switch (device) {
    case launch::Device::cpu:
      return "cpu";
    case launch::Device::cuda:
      return "cuda";
    default:
      return "auto";
  }
}

}  // namespace

bool is_places_command(std::span<const std::string> arguments) {
  return !arguments.empty() && arguments.front() == "places";
}

int run_places_command(std::span<const std::string> arguments) noexcept {
  try {
    const ParsedCommandLine parsed = parse_options(arguments.subspan(1));
    if (parsed.action != Action::run) return static_cast<int>(ExitCode::done);
    const launch::Options& options = parsed.options;
    const std::filesystem::path folder = options.save_file
                                             ? std::filesystem::absolute(*options.save_file).parent_path()
                                             : std::filesystem::absolute(options.output_dir);
    // A run that makes nothing needs no folder.
    const bool makes_videos = !options.plan && !options.dry_run && !options.list_rows;
    print_result(fmt::format("output_dir={}\ndevice={}\n", makes_videos ? folder.string() : std::string(),
                             device_word(options.device)));
    return static_cast<int>(ExitCode::done);
  } catch (const UsageError& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(ExitCode::usage);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(ExitCode::failure);
  }
}

}  // namespace wan::apps
