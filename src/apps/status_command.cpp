#include "apps/status_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <optional>

#include "apps/job_status.h"
#include "core/check.h"
#include "core/console.h"
#include "core/strings.h"
#include "display/status_report.h"
#include "launch/option_names.h"
#include "store/batch_status.h"

namespace wan::apps {
namespace {

constexpr const char* help =
    "Shows the status of a batch, running or stopped, from the files in its output folder. It asks Slurm\n"
    "about the jobs that have worked there.\n\n"
    "  wan_batch status [--json] OUT\n"
    "  wan_batch status --job JOBID OUT\n\n"
    "It shows the items done, failed, running and open, who makes which item, the items per hour and\n"
    "the time left. The command only reads. It may take a few seconds to see whether a process elsewhere\n"
    "is alive. A manifest named 'status' is given as ./status.\n\n"
    "  --json        print everything as one JSON object\n"
    "  --job JOBID   print the account of a Slurm job: its starts, why each ended, its GPU-hours, and the\n"
    "                command to type next\n"
    "  --help        print this and exit\n\n"
    "Exit codes: 0 shown; 2 usage, or OUT is no output folder; 1 anything else.\n";

struct StatusOptions {
  std::string folder;
  std::string job;  ///< empty: the whole batch
  bool as_json = false;
  bool help = false;
};

StatusOptions parse(std::span<const std::string> arguments) {
  StatusOptions options;
  bool is_job = false;
  for (const std::string& argument : arguments) {
    if (is_job) {
      options.job = argument;
      is_job = false;
    } else if (argument == "--job") {
      is_job = true;
    } else if (argument.starts_with("--job=")) {
      options.job = argument.substr(6);
    } else if (argument == "--help" || argument == "-h") {
      options.help = true;
    } else if (argument == "--json") {
      options.as_json = true;
    } else if (argument.starts_with('-')) {
      fail<UsageError>("unknown option '{}' of wan_batch status; there are --json, --job and --help",
                       printable(argument, 80));
    } else if (!options.folder.empty()) {
      fail<UsageError>("two folders are given: '{}' and '{}'", printable(options.folder),
                       printable(argument));
    } else {
      options.folder = argument;
    }
  }
  if (is_job) fail<UsageError>("--job needs the id of a Slurm job: wan_batch status --job 4711 OUT");
  if (options.folder.empty() && !options.help)
    fail<UsageError>("wan_batch status needs the output folder of a batch: wan_batch status OUT");
  return options;
}

void print_status(std::span<const std::string> arguments) {
  const StatusOptions options = parse(arguments);
  if (options.help) {
    print_result(help);
    return;
  }
  if (!options.job.empty()) {
    print_result(job_account(options.folder, options.job));
    return;
  }
  const store::BatchStatus status =
      launch::hinting_at("its --output-dir", [&] { return store::read_status(options.folder); });
  print_result(options.as_json ? display::status_json(status, options.folder)
                               : display::status_text(status, options.folder) + job_lines(options.folder));
}

}  // namespace

bool is_status_command(std::span<const std::string> arguments) {
  return !arguments.empty() && arguments.front() == "status";
}

int run_status_command(std::span<const std::string> arguments) noexcept {
  try {
    print_status(arguments.subspan(1));
    return static_cast<int>(ExitCode::done);
  } catch (const UsageError& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(ExitCode::usage);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(ExitCode::failure);
  }
}

}  // namespace wan::apps
