#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "wan/error.h"

namespace wan::launch {

/// The error's message, with the option in front by which the user sets what it is about, if a library said
/// what that is: "--ckpt-dir: /x is no checkpoint ...".
std::string with_option(const std::exception& error);

/// A library's text with options in the places where it names settings: "setting 'VAE'" becomes "--vae".
std::string with_options(std::string text);

/// Runs `work` and returns its result. Its UsageError gets the option behind it that the remedy is about:
/// "... compute on the CPU (--device cpu)".
template <typename Work>
auto hinting_at(std::string_view option, Work&& work) {
  try {
    return work();
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{} ({})", error.what(), option));
  }
}

}  // namespace wan::launch
