#include "apps/option_values.h"

#include <algorithm>
#include <cctype>

#include "apps/options.h"
#include "core/check.h"
#include "core/parse_value.h"
#include "core/printable.h"
#include "core/utf8.h"
#include "model/request_values.h"

namespace wan::apps {

std::string parse_text(std::string_view text) {
  if (const auto bad = first_invalid_utf8(text)) {
    fail<ValueError>("the text is not UTF-8: byte {:#04x} at byte {}; use a terminal or an editor in UTF-8",
                     static_cast<unsigned char>(text[*bad]), *bad + 1);
  }
  return std::string(text);
}

std::filesystem::path parse_video_path(std::string_view text) {
  std::filesystem::path path = parse_path(text);
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (extension != ".mp4") fail<ValueError>("'{}' does not end in .mp4", printable(text));
  return path.replace_extension(".mp4");
}

manifest::Shard parse_shard(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos)
    fail<ValueError>("'{}' is not a shard; write I/N, for example 0/8", text);
  manifest::Shard shard;
  shard.count = parse_integer(text.substr(slash + 1), 1, manifest::max_manifest_rows);
  shard.index = parse_integer(text.substr(0, slash), 0, manifest::max_manifest_rows);
  if (shard.index >= shard.count) {
    fail<ValueError>("there is no shard {} of {}: they count from 0, the last one is {}/{}", shard.index,
                     shard.count, shard.count - 1, shard.count);
  }
  return shard;
}

std::string parse_codec(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (text.empty() || !std::ranges::all_of(text, allowed))
    fail<ValueError>("'{}' is not the name of an encoder, for example libx264", text);
  return std::string(text);
}

int parse_draft_scale(std::string_view text) {
  if (text == "1") return 1;
  if (text == "1/2") return 2;
  if (text == "1/4") return 4;
  fail<ValueError>("'{}' is not one of 1, 1/2, 1/4", printable(text, 40));
}

std::uint64_t parse_bytes(std::string_view text) {
  constexpr std::uint64_t kibi = 1024;
  constexpr std::uint64_t kilo = 1000;
  const std::size_t end = std::min(text.find_first_not_of("+-.0123456789"), text.size());
  const std::size_t unit_at = std::min(text.find_first_not_of(' ', end), text.size());
  const std::string_view unit = text.substr(unit_at);
  if (end == 0 || unit.empty())
    fail<ValueError>("'{}' is not a number of bytes with its unit, for example 48GiB", text);
  constexpr std::string_view prefixes = "KMGT";
  const std::size_t power = prefixes.find(unit.front());
  const std::string_view rest = unit.substr(power == std::string_view::npos ? 0 : 1);
  const bool known =
      power == std::string_view::npos ? rest == "B" : rest.empty() || rest == "B" || rest == "iB";
  if (!known)
    fail<ValueError>("'{}' is not a unit; there are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB", unit);

  double factor = 1;
  for (std::size_t i = 0; power != std::string_view::npos && i <= power; ++i)
    factor *= static_cast<double>(rest == "B" ? kilo : kibi);
  constexpr double largest = 9e15;  // whole numbers up to here are exact in a double
  return static_cast<std::uint64_t>(parse_real(text.substr(0, end), 0, largest / factor) * factor);
}

}  // namespace wan::apps
