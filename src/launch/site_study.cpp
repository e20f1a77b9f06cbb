#include "launch/site_study.h"

#include <fmt/format.h>
#include <fmt/std.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "checkpoint/json_file.h"
#include "core/check.h"
#include "core/strings.h"
#include "launch/run_layout.h"

namespace wan::launch {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_bytes = std::uint64_t{64} << 20;
constexpr std::int64_t newest_format = 1;
constexpr std::string_view cpu = "cpu";
constexpr const char* remedy = "write it with: jobs/analysis.sh report OUT... --json FILE";

/// A value of the file, and its name in messages: "measured[2].step_s.median".
class Field {
 public:
  Field(const std::filesystem::path& file, std::string name, const json& value)
      : file_(&file), name_(std::move(name)), value_(&value) {}

  Field at(const std::string& key) const {
    const std::string name = name_.empty() ? key : name_ + "." + key;
    if (!value_->is_object()) refuse(fmt::format("is {}; expected an object", kind()));
    const auto found = value_->find(key);
    if (found == value_->end()) fail<UsageError>("{}: '{}' is missing; {}", shown(), name, remedy);
    return {*file_, name, *found};
  }

  /// Whether there is such a value and it is not null.
  bool has(const std::string& key) const {
    if (!value_->is_object()) refuse(fmt::format("is {}; expected an object", kind()));
    return value_->contains(key) && !value_->at(key).is_null();
  }

  std::vector<Field> entries() const {
    if (!value_->is_array()) refuse(fmt::format("is {}; expected a list", kind()));
    std::vector<Field> result;
    result.reserve(value_->size());
    for (std::size_t i = 0; i < value_->size(); ++i)
      result.emplace_back(*file_, fmt::format("{}[{}]", name_, i), value_->at(i));
    return result;
  }

  /// Empty for null: not recorded.
  std::string text() const {
    if (value_->is_null()) return {};
    if (!value_->is_string()) refuse(fmt::format("is {}; expected a text", kind()));
    return value_->get<std::string>();
  }

  std::int64_t number(std::int64_t least, std::int64_t most) const {
    if (!value_->is_number_integer() || *value_ < least || *value_ > most)
      refuse(fmt::format("is {}; expected a whole number from {} to {}", kind(), least, most));
    return value_->get<std::int64_t>();
  }

  double seconds() const {
    constexpr double most_s = 1e7;
    const double value = value_->is_number() ? value_->get<double>() : std::nan("");
    if (!(value > 0 && value <= most_s))
      refuse(fmt::format("is {}; expected seconds, above 0 and at most {:g}", kind(), most_s));
    return value;
  }

  bool is_zero() const { return value_->is_number() && *value_ == 0; }

  [[noreturn]] void refuse(const std::string& problem) const {
    fail<UsageError>("{}: '{}' {}", shown(), name_, problem);
  }

 private:
  std::string shown() const { return printable(file_->string()); }

  /// The value, or its type if it is long.
  std::string kind() const {
    if (value_->is_structured()) return value_->is_array() ? "a list" : "an object";
    return printable(value_->dump(-1, ' ', true, json::error_handler_t::replace), 60);
  }

  const std::filesystem::path* file_;
  std::string name_;
  const json* value_;
};

parallel::SiteFigure figure_of(const Field& field) {
  constexpr std::int64_t most_starts = 1'000'000;
  return {.seconds = field.at("median").seconds(),
          .starts = static_cast<int>(field.at("n").number(1, most_starts))};
}

/// Empty: no item had the phase, or it took no time.
std::optional<parallel::SiteFigure> phase_of(const Field& entry, const std::string& name) {
  const Field phases = entry.at("item_phases_s");
  if (!phases.has(name) || phases.at(name).at("median").is_zero()) return std::nullopt;
  return figure_of(phases.at(name));
}

/// "whole", "sharded over 4", "offloaded", or the last two together.
parallel::NetworkPlacement placement_of(const Field& entry, int ranks) {
  parallel::NetworkPlacement placement;
  const std::string text = entry.at("placement").text();
  const std::string sharded = fmt::format("sharded over {}", ranks);
  if (text.starts_with(sharded)) placement.division = parallel::Division::sharded;
  if (text.ends_with("offloaded")) placement.residence = parallel::Residence::waits_on_host;
  const std::string understood = fmt::format("{}{}{}", placement.is_sharded() ? sharded : "",
                                             placement.is_sharded() && placement.waits_on_host() ? ", " : "",
                                             placement.waits_on_host() ? "offloaded" : "");
  if (text != (understood.empty() ? "whole" : understood)) {
    entry.at("placement")
        .refuse(fmt::format("is '{}'; expected whole, {} or offloaded", printable(text, 60), sharded));
  }
  return placement;
}

/// Whether the entry is about steps of one group in one node whose layout is recorded. A team of groups, for
/// example, is not.
bool is_of_a_group(const Field& entry) {
  constexpr std::int64_t most_ranks = 1 << 16;
  if (!entry.has("cfg") || !entry.has("ulysses") || !entry.has("placement")) return false;
  const std::int64_t ranks = entry.at("group_gpus").number(1, most_ranks);
  const std::string placement = entry.at("placement").text();
  const std::string sharded = fmt::format("sharded over {}", ranks);
  const bool is_of_others =
      placement.starts_with("sharded") && placement != sharded && placement != sharded + ", offloaded";
  return entry.at("nodes").number(1, most_ranks) == 1 && !is_of_others &&
         entry.at("cfg").number(1, 2) * entry.at("ulysses").number(1, most_ranks) == ranks;
}

parallel::SiteVideo video_of(const Field& entry, int least_side) {
  constexpr std::int64_t most_side = 1 << 15;
  constexpr std::int64_t most_frames = 100'000;
  constexpr std::int64_t most_ranks = 1 << 16;
  parallel::SiteVideo video;
  video.cfg = static_cast<int>(entry.at("cfg").number(1, 2));
  video.ulysses = static_cast<int>(entry.at("ulysses").number(1, most_ranks));
  video.transformers = placement_of(entry, video.cfg * video.ulysses);
  video.size = {.width = static_cast<int>(entry.at("width").number(least_side, most_side)),
                .height = static_cast<int>(entry.at("height").number(least_side, most_side))};
  video.frame_num = static_cast<int>(entry.at("frames").number(1, most_frames));
  video.guided = entry.at("passes").number(1, 2) == 2;
  video.step = figure_of(entry.at("step_s"));
  video.text = phase_of(entry, "text");
  video.encode = phase_of(entry, "encode");
  video.decode = phase_of(entry, "decode");
  video.write = phase_of(entry, "write");
  return video;
}

/// Keeps the entries whose `key` is `wanted`. Throws UsageError, naming the first entry, if none is left.
std::vector<Field> with_value(std::vector<Field> entries, const std::string& key, std::string_view wanted) {
  const Field first = entries.front();
  std::erase_if(entries, [&](const Field& entry) { return entry.at(key).text() != wanted; });
  if (entries.empty()) {
    const std::string had = first.at(key).text();
    first.at(key).refuse(fmt::format("is {}, and the plan is for {}; no other entry is for it either",
                                     had.empty() ? "not recorded" : "'" + printable(had, 60) + "'", wanted));
  }
  return entries;
}

/// The GPU of all entries.
std::string only_gpu(const std::vector<Field>& entries) {
  std::string gpu = entries.front().at("device").text();
  for (const Field& entry : entries) {
    if (entry.at("device").text() == gpu) continue;
    entry.at("device").refuse(
        fmt::format("is '{}', and that of the first entry '{}': there is no GPU here to tell which to plan "
                    "for; make a study of one kind of GPU",
                    printable(entry.at("device").text(), 60), printable(gpu, 60)));
  }
  if (gpu.empty() || gpu == cpu)
    entries.front().at("device").refuse("names no GPU, and the plan is for GPUs");
  return gpu;
}

}  // namespace

parallel::SiteFigures read_site_study(const std::filesystem::path& path, const StudySubject& subject) {
  const json content = checkpoint::read_json_object(path, max_bytes);
  const Field file(path, {}, content);
  file.at("format").number(1, newest_format);
  const Field measured = file.at("measured");
  std::vector<Field> entries = measured.entries();
  std::erase_if(entries, [](const Field& entry) { return !is_of_a_group(entry); });
  if (entries.empty()) {
    measured.refuse(
        fmt::format("has no layout of a group of GPUs in one node, as far as it is recorded; {}", remedy));
  }
  parallel::SiteFigures site{.file = path.string(), .gpu = subject.gpu};
  if (site.gpu.empty()) site.gpu = only_gpu(entries);
  entries = with_value(std::move(entries), "device", site.gpu);
  entries = with_value(std::move(entries), "task", subject.task);
  entries = with_value(std::move(entries), "precision", subject.precision);
  for (const Field& entry : entries) site.videos.push_back(video_of(entry, subject.pixels_per_token));
  return site;
}

void use_site_study(const Options& options, std::string_view task, MachineSize& machine,
                    parallel::PlanInput& plan) {
  parallel::SiteFigures site =
      read_site_study(*options.measured, {.gpu = plan.on_gpu ? machine.figures.gpu : std::string(cpu),
                                          .task = task,
                                          .precision = precision_of(options, plan),
                                          .pixels_per_token = plan.geometry.pixels_per_token()});
  if (plan.on_gpu && machine.figures.gpu.empty()) {
    machine.figures = parallel::choose_machine(site.gpu);
    plan.machine = machine.figures.model;
  }
  plan.site = std::make_shared<const parallel::SiteFigures>(std::move(site));
}

}  // namespace wan::launch
