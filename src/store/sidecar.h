#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/image_hashes.h"
#include "wan/engine.h"
#include "wan/request.h"

namespace wan::store {

inline constexpr double joules_per_wh = 3600;

/// A file as it was published.
struct OutputFile {
  std::uint64_t bytes = 0;
  std::string sha256;
};

/// Whether `path` is a regular file of that size and, with `by_content`, that checksum.
bool matches(const std::filesystem::path& path, const OutputFile& file, bool by_content);

/// What decides how a video looks, beside the request: the same for all items of a run.
struct ModelIdentity {
  std::string weights;    ///< checkpoint::fingerprint()
  std::string precision;  ///< "bf16", "fp32"
  std::map<std::string, std::string> lossy_options =
      {};  ///< by name: what trades accuracy for speed; none today
};

/// What decides how a video looks: two equal ones need not be made twice. Everything of the request but its
/// name and the image's path; the image counts by content. See batch/identity.h.
struct Parameters {
  Request request;
  std::string task;             ///< "i2v-A14B"
  bool automatic_seed = false;  ///< drawn, not given by the user: kept once drawn
  std::string image_sha256;     ///< empty: no image, or it could not be read
  FileStamp image_stamp = {};   ///< of the image when that was computed
  ModelIdentity model = {};
};

/// As the records hold them.
nlohmann::json to_json(const Parameters& parameters);

/// Where a record comes from.
struct Origin {
  std::string run;  ///< run id
  std::string host;
  std::string manifest;  ///< its path; empty for a single request
  std::int64_t line = 0;
  std::vector<std::string> command;  ///< program and options that are the same for all items
  /// The options for the values of one request; null: the program has none.
  std::vector<std::string> (*request_options)(const Request& request) = nullptr;
  std::string started;  ///< UTC, "2025-11-03T10:00:00Z"
  int ranks = 1;
  std::map<std::string, std::string> libraries = {};  ///< their versions by name
  std::string attention = {};                         ///< whose kernel computes it; empty: not known
};

/// That an item had a result before which was not kept.
struct MadeAgain {
  std::string
      because;  ///< describe(differences(...)), or what is wrong with the files; empty: it was asked for
  std::string earlier;  ///< the earlier files' names up to the suffix; empty: there are none
};

/// All that OUT/<id>.json says.
struct Sidecar {
  Parameters parameters;
  RequestReport report;
  OutputFile video;
  std::optional<OutputFile> latents;
  double seconds = 0;           ///< of all runs that the item was with
  double gpu_seconds = 0;       ///< likewise
  double energy_j = 0;          ///< of its GPUs, likewise; 0 or NaN: unknown
  std::vector<int> resumed_at;  ///< steps at which a run went on from a saved state
  Origin origin;
  std::optional<MadeAgain> made_again = {};
};

/// All that OUT/<id>.failed.json says. A row that cannot be parsed has no parameters.
struct FailureRecord {
  std::string id;
  std::string stage;
  std::string message;
  std::optional<Parameters> parameters;
  int rank = 0;  ///< in the world, of the leader that reports
  Origin origin;
};

/// Adds version, run, host and times to a record.
void add_origin(nlohmann::json& fields, const Origin& origin);
/// A record's text. Paths and messages may hold bytes that are no UTF-8; it is written all the same.
std::string dump(const nlohmann::json& fields);

std::string to_json_text(const Sidecar& sidecar);
std::string to_json_text(const FailureRecord& failure);

/// The shell command that makes this one item again.
std::string command_again(const Request& request, const Origin& origin);

/// What resume reads back of a sidecar or a failure record. Files in the output folder may be anything: what
/// does not parse is nothing.
struct StoredRecord {
  std::string run;
  std::string stage;    ///< failures only
  std::string message;  ///< failures only
  PixelSize size;
  int frames = 0;
  int steps = 0;
  double seconds = 0;
  double median_step_s = 0;
  std::optional<std::uint64_t> automatic_seed;  ///< the seed, if it was drawn
  std::optional<std::uint64_t> seed;            ///< drawn or given
  bool answers_request = false;
  std::string differs;  ///< describe(differences()) from what is wanted, if it does not answer that
  OutputFile video;
  std::optional<OutputFile> latents;
};

/// What is wanted now; null: a row without parameters. It is told what the record says of the row's image.
using Wanted = std::function<const Parameters*(const std::optional<StampedHash>& recorded)>;

/// Reads a record back and compares it with what is wanted now.
std::optional<StoredRecord> read_record(const std::filesystem::path& path, const Wanted& wanted);

/// Whether a file is a record of this program, of a finished or a failed item, whatever the item. What is not
/// is somebody else's and is never replaced.
bool is_record(const std::filesystem::path& path);
/// Likewise the record of a run (run.json).
bool is_run_record(const std::filesystem::path& path);

/// Now in UTC, "2025-11-03T10:00:00Z".
std::string utc_now();

}  // namespace wan::store
