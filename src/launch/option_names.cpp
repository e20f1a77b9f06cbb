#include "launch/option_names.h"

#include <array>
#include <utility>

#include "core/setting_error.h"

namespace wan::launch {
namespace {

/// The name of a setting in libraries, and the option by which a user of the programs sets it.
constexpr std::array<std::pair<std::string_view, std::string_view>, 10> options{
    {{"checkpoint folder", "--ckpt-dir"},
     {"output folder", "--output-dir"},
     {"model", "--model"},
     {"high-noise model", "--high-noise-model"},
     {"low-noise model", "--low-noise-model"},
     {"VAE", "--vae"},
     {"text encoder", "--text-encoder"},
     {"image encoder", "--image-encoder"},
     {"tokenizer", "--tokenizer"},
     {"LoRA", "--lora"}}};

}  // namespace

std::string with_options(std::string text) {
  for (const auto& [setting, option] : options) {
    const std::string words = fmt::format("setting '{}'", setting);
    for (std::size_t at = text.find(words); at != std::string::npos;
         at = text.find(words, at + option.size()))
      text.replace(at, words.size(), option);
  }
  return text;
}

std::string with_option(const std::exception& error) {
  const std::string text = with_options(error.what());
  if (const auto* known = dynamic_cast<const SettingError*>(&error)) {
    for (const auto& [setting, option] : options)
      if (known->setting() == setting) return fmt::format("{}: {}", option, text);
  }
  return text;
}

}  // namespace wan::launch
