#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wan::doctor {

enum class Verdict { ok, warn, fail };
std::string_view to_string(Verdict verdict);  ///< "OK", "WARN", "FAIL"

/// What one check found.
struct Finding {
  std::string check;  ///< "GPU 0", "locked memory"
  Verdict verdict = Verdict::ok;
  std::string found;
  std::string remedy;      ///< one line; empty where all is well
  std::vector<int> ranks;  ///< that found it; empty: the job as a whole
  bool operator==(const Finding&) const = default;
};

Finding ok(std::string check, std::string found);
Finding warn(std::string check, std::string found, std::string remedy);
Finding bad(std::string check, std::string found, std::string remedy);

/// "20.7 GiB"
std::string bytes_text(std::uint64_t bytes);

/// One finding for all ranks that found the same, in the order of the lowest such rank's list.
std::vector<Finding> merge(std::span<const std::vector<Finding>> by_rank);

/// For the way from a rank to rank 0. from_json() throws Error if the text is not to_json()'s.
std::string to_json(std::span<const Finding> findings);
std::vector<Finding> from_json(std::string_view text);

struct Counts {
  int ok = 0;
  int warn = 0;
  int fail = 0;
};
Counts count(std::span<const Finding> findings);

/// A table: verdict, check, what was found and by whom (of several ranks), and below each that is not OK its
/// remedy; the counts in the end.
std::string table(std::span<const Finding> findings, int ranks);

/// One JSON object: the counts, and the findings with their ranks.
std::string report_json(std::span<const Finding> findings, int ranks);

}  // namespace wan::doctor
