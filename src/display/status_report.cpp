#include "display/status_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/strings.h"
#include "display/progress.h"
#include "store/stop_file.h"

namespace wan::display {
namespace {

using nlohmann::json;

constexpr std::size_t id_columns = 40;

/// "running", "finished" or "stopped".
std::string_view state_word(const store::BatchStatus& status) {
  if (status.is_running()) return "running";
  return status.open() == 0 && status.changed_manifests.empty() ? "finished" : "stopped";
}

std::string rate_line(const store::BatchStatus& status) {
  if (status.overall_items_per_hour <= 0) return "throughput  not known yet: no item is done\n";
  if (status.last_hour_items_per_hour <= 0)
    return fmt::format("throughput  {:.1f} items/h overall\n", status.overall_items_per_hour);
  return fmt::format("throughput  {:.1f} items/h in the last hour of work, {:.1f} overall\n",
                     status.last_hour_items_per_hour, status.overall_items_per_hour);
}

std::string left_line(const store::BatchStatus& status) {
  if (status.open() + status.running == 0) return {};
  if (!status.left_s) return "time left   not known yet\n";
  const char* condition = status.is_running() ? "" : " of work, once it runs again";
  return fmt::format("time left   about {}{}\n", format_duration(*status.left_s), condition);
}

/// The work of a worker without an item.
std::string idle_word(const store::WorkerStatus& worker) {
  return worker.phase == "load" ? "loads the checkpoint" : "between items";
}

std::string worker_line(const store::WorkerStatus& worker) {
  const std::string step = worker.steps > 0 ? fmt::format("{}/{}", worker.step, worker.steps) : "-";
  const std::string step_s = worker.step_s > 0 ? fmt::format("{:.2f}", worker.step_s) : "-";
  const std::string doing = !worker.is_alive    ? "dead: the next run takes it over"
                            : worker.id.empty() ? idle_word(worker)
                                                : printable(worker.phase, 40);
  return fmt::format("  {:<{}}  {:<16}  {:>8}  {:>10}  {:>9}  {:>7}  {}\n",
                     worker.id.empty() ? "-" : printable(worker.id, id_columns), id_columns,
                     printable(worker.host, 40), worker.pid,
                     worker.job.empty() ? "-" : printable(worker.job, 20), step, step_s, doing);
}

std::string worker_lines(const store::BatchStatus& status, std::size_t max_lines) {
  if (status.workers.empty()) return {};
  std::string text = fmt::format("  {:<{}}  {:<16}  {:>8}  {:>10}  {:>9}  {:>7}  {}\n", "item", id_columns,
                                 "host", "process", "job", "step", "s/step", "doing");
  for (std::size_t i = 0; i < std::min(status.workers.size(), max_lines); ++i)
    text += worker_line(status.workers[i]);
  if (status.workers.size() > max_lines)
    text += fmt::format("  ... and {} more\n", status.workers.size() - max_lines);
  return text;
}

std::string failure_lines(const store::BatchStatus& status, const std::filesystem::path& folder,
                          std::size_t max_lines) {
  std::string text;
  for (std::size_t i = 0; i < std::min(status.failures.size(), max_lines); ++i) {
    const store::FailureStatus& failure = status.failures[i];
    text += fmt::format("  {}  {}: {}\n", printable(failure.id, id_columns), printable(failure.stage, 20),
                        printable(failure.message, 200));
  }
  if (text.empty()) return text;
  if (status.failures.size() > max_lines) {
    text += fmt::format("  ... and {} more: see {}\n", status.failures.size() - max_lines,
                        printable((folder / "*.failed.json").string()));
  }
  return "failed\n" + text;
}

}  // namespace

std::string status_text(const store::BatchStatus& status, const std::filesystem::path& folder,
                        std::size_t max_lines) {
  std::string text = fmt::format("{}: {}\n", printable(folder.string()), state_word(status));
  text += fmt::format("items       {}: {} done, {} failed, {} running, {} open", status.rows, status.done,
                      status.failed, status.running, status.open());
  if (status.drafted > 0) text += fmt::format(", {} drafted", status.drafted);
  text += status.saved > 0 ? fmt::format(" ({} of them saved in mid-way)\n", status.saved) : "\n";
  if (status.former > 0) {
    text += fmt::format("            {} more of rows that the manifest no longer lists\n", status.former);
  }
  for (const std::string& manifest : status.changed_manifests) {
    text +=
        fmt::format("manifest    {} has changed since its last run: the rows of that run are counted here\n",
                    printable(manifest));
  }
  if (status.has_stop_file) {
    text += fmt::format("stopped     {} is there: runs stop and none starts until it is removed\n",
                        printable(store::stop_file(folder).string()));
  }
  text += rate_line(status) + left_line(status);
  if (status.last_run) {
    text += fmt::format("last run    {} ended {}: {} (exit code {})\n", printable(status.last_run->run, 60),
                        printable(status.last_run->ended, 30), printable(status.last_run->exit_reason, 80),
                        status.last_run->exit_code);
  }
  return text + worker_lines(status, max_lines) + failure_lines(status, folder, max_lines);
}

std::string status_json(const store::BatchStatus& status, const std::filesystem::path& folder) {
  json fields{{"folder", folder.string()},
              {"state", state_word(status)},
              {"rows", status.rows},
              {"done", status.done},
              {"failed", status.failed},
              {"running", status.running},
              {"open", status.open()},
              {"drafted", status.drafted},
              {"saved", status.saved},
              {"former", status.former},
              {"changed_manifests", status.changed_manifests},
              {"items_per_hour_last_hour", status.last_hour_items_per_hour},
              {"items_per_hour_overall", status.overall_items_per_hour},
              {"stop_file", status.has_stop_file},
              {"left_s", status.left_s ? json(*status.left_s) : json(nullptr)},
              {"workers", json::array()},
              {"failures", json::array()},
              {"last_run", nullptr}};
  for (const store::WorkerStatus& worker : status.workers) {
    fields["workers"].push_back({{"id", worker.id},
                                 {"alive", worker.is_alive},
                                 {"host", worker.host},
                                 {"pid", worker.pid},
                                 {"job", worker.job},
                                 {"run", worker.run},
                                 {"phase", worker.phase},
                                 {"step", worker.step},
                                 {"steps", worker.steps},
                                 {"step_s", worker.step_s}});
  }
  for (const store::FailureStatus& failure : status.failures) {
    fields["failures"].push_back(
        {{"id", failure.id}, {"stage", failure.stage}, {"message", failure.message}});
  }
  if (status.last_run) {
    fields["last_run"] = {{"run", status.last_run->run},
                          {"ended", status.last_run->ended},
                          {"exit_code", status.last_run->exit_code},
                          {"exit_reason", status.last_run->exit_reason}};
  }
  return fields.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace wan::display
