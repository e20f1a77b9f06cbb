#include "doctor/finding.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/check.h"

namespace wan::doctor {
namespace {

using nlohmann::json;

json to_object(const Finding& finding) {
  return {{"check", finding.check},
          {"verdict", to_string(finding.verdict)},
          {"found", finding.found},
          {"remedy", finding.remedy},
          {"ranks", finding.ranks}};
}

std::string dump(const json& fields, int indent) {
  return fields.dump(indent, ' ', false, json::error_handler_t::replace);
}

Verdict verdict_of(std::string_view text) {
  for (const Verdict verdict : {Verdict::ok, Verdict::warn, Verdict::fail})
    if (text == to_string(verdict)) return verdict;
  fail("'{}' is no verdict", text);
}

/// "ranks 0-3, 6" for ascending ranks. Empty if `found_by` is empty or holds all ranks.
std::string rank_text(const std::vector<int>& found_by, int ranks) {
  if (found_by.empty() || std::ssize(found_by) == ranks) return {};
  std::string text;
  for (std::size_t i = 0; i < found_by.size();) {
    std::size_t last = i;
    while (last + 1 < found_by.size() && found_by[last + 1] == found_by[last] + 1) ++last;
    text += text.empty() ? "" : ", ";
    text += last == i ? fmt::format("{}", found_by[i]) : fmt::format("{}-{}", found_by[i], found_by[last]);
    i = last + 1;
  }
  return fmt::format(" (rank{} {})", found_by.size() == 1 ? "" : "s", text);
}

/// Indents all lines of a text except the first.
std::string indented(std::string_view text, const std::string& indent) {
  std::string shown;
  for (const char c : text) {
    shown += c;
    if (c == '\n') shown += indent;
  }
  return shown;
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "OK";
    case Verdict::warn:
      return "WARN";
    case Verdict::fail:
      return "FAIL";
  }
  return "";
}

Finding ok(std::string check, std::string found) {
  return {.check = std::move(check),
          .verdict = Verdict::ok,
          .found = std::move(found),
          .remedy = {},
          .ranks = {}};
}

Finding warn(std::string check, std::string found, std::string remedy) {
  return {.check = std::move(check),
          .verdict = Verdict::warn,
          .found = std::move(found),
          .remedy = std::move(remedy),
          .ranks = {}};
}

Finding bad(std::string check, std::string found, std::string remedy) {
  return {.check = std::move(check),
          .verdict = Verdict::fail,
          .found = std::move(found),
          .remedy = std::move(remedy),
          .ranks = {}};
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < units.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::vector<Finding> merge(std::span<const std::vector<Finding>> by_rank) {
  std::vector<Finding> merged;
  for (std::size_t rank = 0; rank < by_rank.size(); ++rank) {
    for (const Finding& finding : by_rank[rank]) {
      const auto same = std::ranges::find_if(merged, [&](const Finding& other) {
        return other.check == finding.check && other.verdict == finding.verdict &&
               other.found == finding.found && other.remedy == finding.remedy;
      });
      if (same == merged.end()) {
        merged.push_back(finding);
        merged.back().ranks = {static_cast<int>(rank)};
      } else if (same->ranks.back() != static_cast<int>(rank)) {
        same->ranks.push_back(static_cast<int>(rank));
      }
    }
  }
  return merged;
}

std::string to_json(std::span<const Finding> findings) {
  json list = json::array();
  for (const Finding& finding : findings) list.push_back(to_object(finding));
  return dump(list, -1);
}

std::vector<Finding> from_json(std::string_view text) {
  std::vector<Finding> findings;
  try {
    for (const json& fields : json::parse(text)) {
      findings.push_back({.check = fields.at("check"),
                          .verdict = verdict_of(fields.at("verdict").get<std::string>()),
                          .found = fields.at("found"),
                          .remedy = fields.at("remedy"),
                          .ranks = fields.at("ranks")});
    }
  } catch (const json::exception& error) {
    fail("findings that cannot be read: {}", error.what());
  }
  return findings;
}

Counts count(std::span<const Finding> findings) {
  Counts counts;
  for (const Finding& finding : findings) {
    if (finding.verdict == Verdict::ok) ++counts.ok;
    if (finding.verdict == Verdict::warn) ++counts.warn;
    if (finding.verdict == Verdict::fail) ++counts.fail;
  }
  return counts;
}

std::string table(std::span<const Finding> findings, int ranks) {
  std::size_t columns = 0;
  for (const Finding& finding : findings) columns = std::max(columns, finding.check.size());
  std::string text;
  const std::string indent(std::string_view("WARN  ").size() + columns + 2, ' ');
  for (const Finding& finding : findings) {
    text += fmt::format("{:<4}  {:<{}}  {}{}\n", to_string(finding.verdict), finding.check, columns,
                        indented(finding.found, indent), rank_text(finding.ranks, ranks));
    if (finding.verdict != Verdict::ok)
      text += fmt::format("{:<4}  {:<{}}  -> {}\n", "", "", columns, finding.remedy);
  }
  const Counts counts = count(findings);
  return text + fmt::format("{} checks: {} OK, {} WARN, {} FAIL\n", findings.size(), counts.ok, counts.warn,
                            counts.fail);
}

std::string report_json(std::span<const Finding> findings, int ranks) {
  const Counts counts = count(findings);
  json report{{"ranks", ranks},
              {"ok", counts.ok},
              {"warn", counts.warn},
              {"fail", counts.fail},
              {"findings", json::array()}};
  for (const Finding& finding : findings) report["findings"].push_back(to_object(finding));
  return dump(report, 2) + "\n";
}

}  // namespace wan::doctor
