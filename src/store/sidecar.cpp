#include "store/sidecar.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/strings.h"
#include "core/utc_time.h"
#include "store/identity.h"
#include "store/json_file.h"
#include "store/output_folder.h"
#include "wan/version.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_record_bytes = std::uint64_t{16} << 20;
constexpr int record_format = 1;

json to_json(const OutputFile& file, const std::filesystem::path& name) {
  return {{"file", name.string()}, {"bytes", file.bytes}, {"sha256", file.sha256}};
}

OutputFile output_from(const json& fields) {
  return {.bytes = fields.at("bytes").get<std::uint64_t>(), .sha256 = fields.at("sha256").get<std::string>()};
}

std::optional<StampedHash> recorded_image(const json& fields, const json& parameters) {
  const auto stamp = fields.find("image_file");
  if (stamp == fields.end() || !parameters.contains("image_sha256")) return std::nullopt;
  return StampedHash{.sha256 = parameters.at("image_sha256").get<std::string>(),
                     .stamp = {.bytes = stamp->at("bytes").get<std::uint64_t>(),
                               .modified_ns = stamp->at("modified_ns").get<std::int64_t>(),
                               .inode = stamp->at("inode").get<std::uint64_t>()}};
}

void add_image_stamp(json& fields, const Parameters& parameters) {
  if (parameters.image_sha256.empty()) return;
  const FileStamp& stamp = parameters.image_stamp;
  fields["image_file"] = {{"bytes", stamp.bytes}, {"modified_ns", stamp.modified_ns}, {"inode", stamp.inode}};
}

StoredRecord parse_record(const json& fields, const Wanted& wanted) {
  StoredRecord record;
  record.run = fields.at("run").get<std::string>();
  record.stage = fields.value("stage", std::string());
  record.message = fields.value("message", std::string());
  record.seconds = fields.value("seconds", 0.0);
  record.median_step_s = fields.value("median_step_s", 0.0);
  if (const auto parameters = fields.find("parameters"); parameters != fields.end()) {
    record.steps = parameters->at("sample_steps").get<int>();
    record.seed = parameters->at("seed").get<std::uint64_t>();
    if (parameters->at("seed_is_automatic").get<bool>()) record.automatic_seed = record.seed;
    if (const Parameters* now = wanted(recorded_image(fields, *parameters)); now != nullptr) {
      record.differs = describe(differences(*parameters, *now));
      record.answers_request = record.differs.empty();
    }
  }
  if (const auto outputs = fields.find("outputs"); outputs != fields.end()) {
    record.video = output_from(outputs->at("video"));
    if (const auto latents = outputs->find("latents"); latents != outputs->end()) {
      record.latents = output_from(*latents);
      record.step_latents = latents->value("steps", false);
    }
    record.size = {.width = fields.at("width").get<int>(), .height = fields.at("height").get<int>()};
    record.frames = fields.at("frames").get<int>();
  }
  if (const auto draft = fields.find("draft"); draft != fields.end()) {
    record.draft = Draft{.after_step = draft->at("after_step").get<int>(),
                         .frames = draft->at("frames").get<int>(),
                         .shrink = draft->at("shrink").get<int>()};
  }
  return record;
}

}  // namespace

json to_json(const Parameters& parameters) {
  const Request& request = parameters.request;
  json fields{
      {"task", parameters.task},
      {"prompt", request.prompt},
      {"negative_prompt", request.negative_prompt},
      {"seed", request.seed},
      {"seed_is_automatic", parameters.automatic_seed},
      {"size", fmt::format("{}*{}", request.size.width, request.size.height)},
      {"frame_num", request.frame_num},
      {"sample_steps", request.sample_steps},
      {"sample_shift", request.sample_shift},
      {"sample_guide_scale", {request.guide_scale.low_noise, request.guide_scale.high_noise}},
      {"boundary", request.boundary ? json(*request.boundary) : json()},
      {"sample_solver", to_string(request.solver)},
      {"noise_device", to_string(request.noise_device)},
      {"fps", request.fps},
      {"codec", request.codec},
      {"crf", request.crf},
      {"weights", parameters.model.weights},
      {"precision", parameters.model.precision},
  };
  if (!parameters.model.lossy_options.empty()) fields["lossy_options"] = parameters.model.lossy_options;
  for (const LoraIdentity& lora : parameters.model.loras) {
    fields["loras"].push_back(
        {{"sha256", lora.sha256}, {"strength", lora.strength}, {"experts", lora.experts}});
  }
  if (!request.image.empty()) {
    fields["image"] = request.image.string();
    fields["image_sha256"] = parameters.image_sha256;
  }
  return fields;
}

void add_origin(json& fields, const Origin& origin) {
  fields["format"] = record_format;
  fields["version"] = version();
  fields["run"] = origin.run;
  fields["host"] = origin.host;
  fields["started"] = origin.started;
  fields["ended"] = utc_now();
  fields["ranks"] = origin.ranks;
  if (!origin.libraries.empty()) fields["libraries"] = origin.libraries;
  if (!origin.manifest.empty()) fields["manifest"] = {{"file", origin.manifest}, {"line", origin.line}};
}

std::string dump(const json& fields) {
  return fields.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

bool matches(const std::filesystem::path& path, const OutputFile& file, bool by_content) {
  if (plain_file_size(path) != file.bytes) return false;
  try {
    return !by_content || sha256_file_hex(path) == file.sha256;
  } catch (const Error&) {
    return false;  // an unreadable file counts as missing: it is made again
  }
}

std::string to_json_text(const Sidecar& sidecar) {
  const std::string& id = sidecar.parameters.request.id;
  json outputs{{"video", to_json(sidecar.video, id + (sidecar.draft ? ".draft.mp4" : ".mp4"))}};
  if (sidecar.latents) {
    outputs["latents"] = to_json(*sidecar.latents, id + ".latent.safetensors");
    if (sidecar.step_latents) outputs["latents"]["steps"] = true;
  }
  const RequestReport& report = sidecar.report;
  json fields{{"id", id},
              {"status", sidecar.draft ? "drafted" : "done"},
              {"parameters", to_json(sidecar.parameters)},
              {"outputs", std::move(outputs)},
              {"width", report.size.width},
              {"height", report.size.height},
              {"frames", report.frames},
              {"seconds", sidecar.seconds},
              {"gpu_seconds", sidecar.gpu_seconds},
              {"energy_wh", sidecar.energy_j > 0 ? json(sidecar.energy_j / joules_per_wh) : json()},
              {"phase_seconds", report.phase_s},
              {"median_step_s", report.median_step_s},
              {"layout", report.layout},
              {"device", report.device},
              {"precision", report.precision},
              {"command", command_again(sidecar.parameters.request, sidecar.origin)}};
  for (const LostText& lost : report.lost_texts) {
    fields["text_not_used"][lost.field] = {
        {"tokens", lost.tokens}, {"used_tokens", lost.used_tokens}, {"first_words_lost", lost.first_words}};
  }
  if (!sidecar.resumed_at.empty()) fields["resumed_at_steps"] = sidecar.resumed_at;
  if (sidecar.made_again) {
    fields["made_again"] = {{"because", sidecar.made_again->because},
                            {"earlier", sidecar.made_again->earlier}};
  }
  if (sidecar.draft) {
    fields["draft"] = {{"after_step", report.steps_done},
                       {"frames", sidecar.draft->frames},
                       {"shrink", sidecar.draft->shrink}};
  }
  if (!sidecar.extension.empty()) fields["prompt_extension"] = sidecar.extension;
  if (!sidecar.origin.attention.empty()) fields["attention"] = sidecar.origin.attention;
  if (!sidecar.origin.lora_files.empty()) fields["lora_files"] = sidecar.origin.lora_files;
  if (!sidecar.origin.widened.empty()) fields["weights_widened"] = sidecar.origin.widened;
  add_image_stamp(fields, sidecar.parameters);
  add_origin(fields, sidecar.origin);
  return dump(fields);
}

std::string to_json_text(const FailureRecord& failure) {
  json fields{{"id", failure.id},
              {"status", "failed"},
              {"stage", failure.stage},
              {"message", failure.message},
              {"rank", failure.rank}};
  if (failure.parameters) {
    fields["parameters"] = to_json(*failure.parameters);
    fields["command"] = command_again(failure.parameters->request, failure.origin);
    add_image_stamp(fields, *failure.parameters);
  }
  if (!failure.extension.empty()) fields["prompt_extension"] = failure.extension;
  add_origin(fields, failure.origin);
  return dump(fields);
}

std::string command_again(const Request& request, const Origin& origin) {
  std::vector<std::string> words = origin.command;
  if (origin.request_options != nullptr)
    std::ranges::copy(origin.request_options(request), std::back_inserter(words));
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + shell_quote(word);
  return line;
}

namespace {

bool has_text(const json& fields, const char* name) {
  const auto found = fields.find(name);
  return found != fields.end() && found->is_string();
}

}  // namespace

std::optional<StoredRecord> read_record(const std::filesystem::path& path, const Wanted& wanted) {
  const json fields = read_object(path, max_record_bytes);
  if (fields.is_null()) return std::nullopt;
  try {
    return parse_record(fields, wanted);
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

bool is_record(const std::filesystem::path& path) {
  const json fields = read_object(path, max_record_bytes);
  if (fields.is_null()) return false;
  const auto format = fields.find("format");
  if (format == fields.end() || !format->is_number_integer()) return false;
  for (const char* name : {"id", "version", "run", "status"}) {
    if (!has_text(fields, name)) return false;
  }
  const json& status = fields.at("status");
  return status == "done" || status == "drafted" || status == "failed";
}

bool is_run_record(const std::filesystem::path& path) {
  const json fields = read_object(path, max_record_bytes);
  if (fields.is_null()) return false;
  for (const char* name : {"run", "version", "exit_reason"}) {
    if (!has_text(fields, name)) return false;
  }
  return fields.contains("counts") && fields.at("counts").is_object();
}

std::string utc_now() { return utc_text_s(std::chrono::system_clock::now()); }

}  // namespace wan::store
