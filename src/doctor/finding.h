#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wan::doctor {

enum class Verdict { ok, warn, fail };
std::string_view to_string(Verdict verdict);  ///< "OK", "WARN", "FAIL"

/// The result of one check.
struct Finding {
  std::string check;  ///< "GPU 0", "locked memory"
  Verdict verdict = Verdict::ok;
  std::string found;
  std::string remedy;      ///< one line; empty if no action is needed
  std::vector<int> ranks;  ///< ranks with this finding; empty: the job as a whole
  bool operator==(const Finding&) const = default;
};

Finding ok(std::string check, std::string found);
Finding warn(std::string check, std::string found, std::string remedy);
Finding bad(std::string check, std::string found, std::string remedy);

/// "20.7 GiB"
std::string bytes_text(std::uint64_t bytes);

/// Merges equal findings of several ranks into one, in the order of the lowest such rank's list.
std::vector<Finding> merge(std::span<const std::vector<Finding>> by_rank);

/// Sends findings from a rank to rank 0. from_json() throws Error if the text is not from to_json().
std::string to_json(std::span<const Finding> findings);
std::vector<Finding> from_json(std::string_view text);

struct Counts {
  int ok = 0;
  int warn = 0;
  int fail = 0;
};
Counts count(std::span<const Finding> findings);

/// A table: verdict, check, finding, and its ranks if there are several. Below each finding that is not OK
/// stands its remedy. The last line counts the verdicts.
std::string table(std::span<const Finding> findings, int ranks);

/// One JSON object: the counts, and the findings with their ranks.
std::string report_json(std::span<const Finding> findings, int ranks);

}  // namespace wan::doctor
