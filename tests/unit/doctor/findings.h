#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "doctor/finding.h"

namespace wan::doctor::test {

/// The worst finding of a check. If there is none, a finding that says so.
inline Finding worst_of(const std::vector<Finding>& findings, const std::string& check) {
  Finding worst{.check = check, .verdict = Verdict::ok, .found = "no such check", .remedy = {}, .ranks = {}};
  bool is_there = false;
  for (const Finding& finding : findings) {
    if (finding.check != check || (is_there && finding.verdict <= worst.verdict)) continue;
    worst = finding;
    is_there = true;
  }
  return worst;
}

inline Verdict verdict_of(const std::vector<Finding>& findings, const std::string& check) {
  return worst_of(findings, check).verdict;
}

inline bool all_ok(const std::vector<Finding>& findings) {
  return std::ranges::all_of(findings, [](const Finding& f) { return f.verdict == Verdict::ok; });
}

/// Whether every finding that is not OK has a remedy of one line, and every OK finding has none.
inline bool has_remedies(const std::vector<Finding>& findings) {
  return std::ranges::all_of(findings, [](const Finding& f) {
    return (f.verdict == Verdict::ok) == f.remedy.empty() && f.remedy.find('\n') == std::string::npos;
  });
}

}  // namespace wan::doctor::test
