#include "batch/batch_record.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "batch/manifest.h"
#include "batch/text.h"
#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"

namespace wan::batch {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_record_bytes = 64U << 10;
constexpr std::string_view prefix = ".batch-";
constexpr std::size_t hash_digits = 16;

}  // namespace

void write_batch_record(const OutputFolder& folder, const BatchRecord& record) {
  const json fields{{"manifest", record.manifest}, {"rows", record.rows}};
  const std::string hash =
      sha256_hex(std::filesystem::absolute(record.manifest).string()).substr(0, hash_digits);
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
                         .rows = fields.at("rows").get<std::int64_t>()};
      if (record.rows >= 0 && record.rows <= max_manifest_rows) records.push_back(std::move(record));
    } catch (const json::exception&) {
      continue;
    } catch (const Error&) {
      continue;
    }
  }
  return records;
}

}  // namespace wan::batch
