#include "store/job_starts.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/file.h"
#include "store/sidecar.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_record_bytes = 1U << 20;

bool is_plain(const std::string& job) {
  return !job.empty() &&
         std::ranges::all_of(job, [](char c) { return (c >= '0' && c <= '9') || c == '_' || c == '-'; });
}

std::filesystem::path record(const OutputFolder& folder, const std::string& job) {
  return folder.claims() / fmt::format(".starts-{}.json", job);
}

std::vector<std::string> read_runs(const std::filesystem::path& path) {
  if (!plain_file_size(path)) return {};
  try {
    return json::parse(read_text_file(path, max_record_bytes)).at("runs").get<std::vector<std::string>>();
  } catch (const json::exception&) {
    return {};
  }
}

}  // namespace

std::vector<std::string> note_start(const OutputFolder& folder, const std::string& job,
                                    const std::string& run, bool is_restart) {
  if (!is_plain(job)) return {};
  std::vector<std::string> earlier;
  if (is_restart) earlier = read_runs(record(folder, job));
  std::vector<std::string> runs = earlier;
  runs.push_back(run);
  write_file_atomically(record(folder, job), dump({{"job", job}, {"runs", runs}}));
  return earlier;
}

void forget_starts(const OutputFolder& folder, const std::string& job) {
  if (is_plain(job)) remove_file(record(folder, job));
}

}  // namespace wan::store
