#include "manifest/chosen_ids.h"

#include <algorithm>
#include <array>
#include <set>

#include "core/check.h"
#include "core/printable.h"
#include "core/strings.h"
#include "manifest/item_id.h"

namespace wan::manifest {
namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
constexpr std::size_t most_shown = 3;

bool names_manifest(const std::filesystem::path& path) {
  constexpr std::array<std::string_view, 5> extensions{".csv", ".json", ".jsonl", ".ndjson", ".json-lines"};
  return std::ranges::find(extensions, path.extension().string()) != extensions.end();
}

std::vector<std::string> ids_of_lines(std::string_view text, const std::filesystem::path& path) {
  std::vector<std::string> ids;
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  for (std::int64_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view id = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (id.ends_with('\r')) id.remove_suffix(1);
    id = trim(id);
    if (id.empty()) continue;
    try {
      check_id(id);
    } catch (const ValueError& error) {
      fail<UsageError>("{}: line {}: {}", printable(path.string()), line, error.what());
    }
    ids.emplace_back(id);
  }
  return ids;
}

}  // namespace

std::vector<std::string> chosen_ids(std::string_view text, const std::filesystem::path& path, TaskKind task) {
  std::vector<std::string> ids;
  if (names_manifest(path)) {
    for (const ManifestRow& row : parse_manifest(text, path, task)) ids.push_back(row.id);
  } else {
    ids = ids_of_lines(text, path);
  }
  if (ids.empty())
    fail<UsageError>("{} holds no id: write the ids to go on with, one on each line",
                     printable(path.string()));
  return ids;
}

void keep_chosen(std::vector<ManifestRow>& rows, const std::vector<std::string>& ids,
                 const std::filesystem::path& path) {
  std::set<std::string, std::less<>> wanted(ids.begin(), ids.end());
  std::set<std::string, std::less<>> missing = wanted;
  for (const ManifestRow& row : rows) missing.erase(row.id);
  if (!missing.empty()) {
    std::string list;
    std::size_t shown = 0;
    for (const std::string& id : missing) {
      if (shown++ == most_shown) break;
      list += fmt::format("{}'{}'", list.empty() ? "" : ", ", printable(id, 80));
    }
    if (missing.size() > most_shown) list += fmt::format(" and {} more", missing.size() - most_shown);
    fail<UsageError>("{}: no row of the manifest has the id {}", printable(path.string()), list);
  }
  std::erase_if(rows, [&](const ManifestRow& row) { return !wanted.contains(row.id); });
}

}  // namespace wan::manifest
