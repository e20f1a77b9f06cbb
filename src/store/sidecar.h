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

/// A published file.
struct OutputFile {
  std::uint64_t bytes = 0;
  std::string sha256;
};

/// Whether `path` is a regular file of that size and, with `by_content`, of that checksum.
bool matches(const std::filesystem::path& path, const OutputFile& file, bool by_content);

/// A LoRA that the weights hold.
struct LoraIdentity {
  std::string sha256;  ///< of the file
  double strength = 1;
  std::string experts;  ///< "high", "low", "both"
};

/// The values that decide how a video looks, beside the request. They are the same for all items of a run.
struct ModelIdentity {
  std::string weights;    ///< checkpoint::fingerprint()
  std::string precision;  ///< "bf16", "fp16", "fp32"
  std::vector<LoraIdentity> loras = {};
  std::map<std::string, std::string> lossy_options =
      {};  ///< options that trade accuracy for speed, by name: "vae_precision"
};

/// The values that decide how a video looks: an item with equal parameters need not be made twice. They hold
/// the whole request without its name and the image's path; the image counts by content. See
/// store/identity.h.
struct Parameters {
  Request request;
  std::string task;             ///< "i2v-A14B"
  bool automatic_seed = false;  ///< the seed was drawn, not given by the user; a drawn seed is kept
  std::string image_sha256;     ///< empty: no image, or it could not be read
  FileStamp image_stamp = {};   ///< of the image when the checksum was computed
  ModelIdentity model = {};
};

/// The parameters as the records hold them.
nlohmann::json to_json(const Parameters& parameters);

/// The origin of a record.
struct Origin {
  std::string run;  ///< run id
  std::string host;
  std::string manifest;  ///< its path; empty for a single request
  std::int64_t line = 0;
  std::vector<std::string> command;  ///< program and options, the same for all items
  /// The options for the values of one request; null: the program has none.
  std::vector<std::string> (*request_options)(const Request& request) = nullptr;
  std::string started;  ///< UTC, "2025-11-03T10:00:00Z"
  int ranks = 1;
  std::map<std::string, std::string> libraries = {};  ///< their versions by name
  std::string attention = {};                ///< the library whose kernel computes it; empty: unknown
  std::vector<std::string> lora_files = {};  ///< in the order of ModelIdentity::loras
  std::string widened = {};                  ///< parts whose weights were stored in fewer bits; empty: none
};

/// An item had a result before that does not count.
struct MadeAgain {
  std::string
      because;  ///< describe(differences(...)), or the problem of the files; empty: the user asked for it
  std::string earlier;  ///< the earlier files' names up to the suffix; empty: there are none
};

/// The values of OUT/<id>.json, or of OUT/<id>.draft.json.
struct Sidecar {
  Parameters parameters;
  RequestReport report;
  OutputFile video;
  std::optional<OutputFile> latents;
  bool step_latents = false;    ///< `latents` holds the latent after each step, too
  double seconds = 0;           ///< spent on the item by all runs
  double gpu_seconds = 0;       ///< spent on the item by all runs
  double energy_j = 0;          ///< of its GPUs, by all runs; 0 or NaN: unknown
  std::vector<int> resumed_at;  ///< steps at which a run went on from a saved state
  Origin origin;
  std::optional<MadeAgain> made_again = {};
  std::optional<Draft> draft = {};                    ///< of a preview, whose item is not done
  std::map<std::string, std::string> extension = {};  ///< ManifestRow::extension
};

/// The values of OUT/<id>.failed.json. A row that cannot be parsed has no parameters.
struct FailureRecord {
  std::string id;
  std::string stage;
  std::string message;
  std::optional<Parameters> parameters;
  int rank = 0;  ///< in the world, of the leader that reports
  Origin origin;
  std::map<std::string, std::string> extension = {};  ///< ManifestRow::extension
};

/// Adds version, run, host and times to a record.
void add_origin(nlohmann::json& fields, const Origin& origin);
/// The text of a record. Paths and messages may hold bytes that are no UTF-8: they are replaced.
std::string dump(const nlohmann::json& fields);

std::string to_json_text(const Sidecar& sidecar);
std::string to_json_text(const FailureRecord& failure);

/// The shell command that makes this one item again.
std::string command_again(const Request& request, const Origin& origin);

/// The values that resume reads from a sidecar or a failure record. Files in the output folder may hold
/// anything: a value that does not parse counts as missing.
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
  std::string differs;  ///< describe(differences()) from the wanted parameters; empty: it answers them
  OutputFile video;
  std::optional<OutputFile> latents;
  bool step_latents = false;        ///< `latents` holds the latent after each step, too
  std::optional<Draft> draft = {};  ///< of a preview; `after_step`: the steps that it was made after
};

/// Returns the parameters that are wanted now, or null for a row without parameters. The argument is the
/// record's checksum of the row's image.
using Wanted = std::function<const Parameters*(const std::optional<StampedHash>& recorded)>;

/// Reads a record back and compares it with what is wanted now.
std::optional<StoredRecord> read_record(const std::filesystem::path& path, const Wanted& wanted);

/// Whether a file is a record of this program, of any finished, drafted or failed item. Any other file is
/// somebody else's and is never replaced.
bool is_record(const std::filesystem::path& path);
/// The same for the record of a run (run.json).
bool is_run_record(const std::filesystem::path& path);

/// The current time in UTC, "2025-11-03T10:00:00Z".
std::string utc_now();

}  // namespace wan::store
