#include "store/batch_record.h"

#include <unistd.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/strings.h"
#include "manifest/manifest.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_record_bytes = std::uint64_t{128} << 20;  // a million rows
constexpr std::string_view prefix = ".batch-";
constexpr std::size_t hash_digits = 16;

/// Rows of one kind ask for the same work, and a manifest has few kinds.
void add_items(json& fields, const std::vector<BatchItem>& items) {
  std::map<std::pair<double, double>, std::size_t> kinds;
  json ids = json::array();
  json kind_of = json::array();
  json works = json::array();
  for (const BatchItem& item : items) {
    const auto [kind, is_new] = kinds.try_emplace({item.work.steps, item.work.rest}, kinds.size());
    if (is_new) works.push_back({item.work.steps, item.work.rest});
    ids.push_back(item.id);
    kind_of.push_back(kind->second);
  }
  fields["ids"] = std::move(ids);
  fields["kind_of"] = std::move(kind_of);
  fields["work_of_kind"] = std::move(works);
}

double work_of(const json& value) {
  const auto work = value.get<double>();
  return std::isfinite(work) && work >= 0 ? work : 0;
}

/// Empty if the record has no items. Throws json::exception.
std::vector<BatchItem> read_items(const json& fields) {
  std::vector<BatchItem> items;
  if (!fields.contains("ids")) return items;
  std::vector<ItemWork> works;
  for (const json& work : fields.at("work_of_kind")) {
    works.push_back({.steps = work_of(work.at(0)), .rest = work_of(work.at(1))});
  }
  const json& kind_of = fields.at("kind_of");
  for (const json& id : fields.at("ids")) {
    const auto kind = kind_of.at(items.size()).get<std::size_t>();
    items.push_back({.id = id, .work = kind < works.size() ? works[kind] : ItemWork()});
  }
  return items;
}

/// The hash of the manifest's present content. Empty if the manifest is too large or is no file, such as
/// standard input.
std::string content_hash(const std::string& manifest) {
  try {
    const auto bytes = plain_file_size(manifest);
    return bytes && *bytes <= manifest::max_manifest_bytes ? sha256_file_hex(manifest) : std::string();
  } catch (const Error&) {
    return {};
  }
}

/// Whether the manifest was edited since the record was written.
bool has_changed(const json& fields, const std::string& manifest) {
  if (!fields.contains("sha256")) return false;
  const std::string now = content_hash(manifest);
  return !now.empty() && now != fields.at("sha256").get<std::string>();
}

}  // namespace

std::string canonical_manifest(const std::filesystem::path& manifest) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::weakly_canonical(manifest, error);
  return (error ? std::filesystem::absolute(manifest).lexically_normal() : path).string();
}

void write_batch_record(const OutputFolder& folder, const BatchRecord& record) {
  const std::string manifest = canonical_manifest(record.manifest);
  json fields{{"manifest", manifest}, {"rows", record.rows}};
  if (record.keeps_drafts) fields["keeps_drafts"] = true;
  if (!record.items.empty()) add_items(fields, record.items);
  if (const std::string hash = content_hash(manifest); !hash.empty()) fields["sha256"] = hash;
  const std::string hash = sha256_hex(manifest).substr(0, hash_digits);
  const std::filesystem::path target = folder.claims() / fmt::format("{}{}.json", prefix, hash);
  const std::filesystem::path temporary = folder.claims() / hidden_name("batch", random_token(), "tmp");
  try {
    create_file(temporary, fields.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
    publish_file(temporary, target);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

std::vector<BatchRecord> read_batch_records(const std::filesystem::path& claims) {
  std::vector<BatchRecord> records;
  for (const std::string& name : names_in(claims)) {
    if (!name.starts_with(prefix) || !plain_file_size(claims / name)) continue;
    try {
      const json fields = json::parse(read_text_file(claims / name, max_record_bytes));
      BatchRecord record{.manifest = fields.at("manifest").get<std::string>(),
                         .rows = fields.at("rows").get<std::int64_t>(),
                         .items = read_items(fields),
                         .keeps_drafts = fields.value("keeps_drafts", false)};
      record.has_changed = has_changed(fields, record.manifest);
      if (record.rows >= 0 && record.rows <= manifest::max_manifest_rows)
        records.push_back(std::move(record));
    } catch (const json::exception&) {
      continue;
    } catch (const Error&) {
      continue;
    }
  }
  return records;
}

}  // namespace wan::store
