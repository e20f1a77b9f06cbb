#include "launch/option_names.h"

#include <array>
#include <utility>

#include "core/setting_error.h"

namespace wan::launch {
namespace {

/// The name of a setting in libraries, and the option by which a user of the programs sets it.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> options{
    {{"checkpoint folder", "--ckpt-dir"}, {"output folder", "--output-dir"}}};

}  // namespace

std::string with_option(const std::exception& error) {
  if (const auto* known = dynamic_cast<const SettingError*>(&error)) {
    for (const auto& [setting, option] : options)
      if (known->setting() == setting) return fmt::format("{}: {}", option, error.what());
  }
  return error.what();
}

}  // namespace wan::launch
