#include "apps/options.h"

#include <sstream>
#include <vector>

#include "apps/option_parser.h"
#include "apps/option_table.h"
#include "core/check.h"

namespace wan::apps {
namespace {

OptionParser parser() { return {option_table(), not_built_table(), "manifest"}; }

/// Checks the rules between several options.
void check_consistency(const launch::Options& options) {
  const bool single = options.image || options.prompt || options.save_file;
  if (options.manifest && single) {
    fail<UsageError>(
        "a manifest ({}) and a single request (--image, --prompt, --save-file) exclude each other",
        options.manifest->string());
  }
  if (options.shard && !options.manifest)
    fail<UsageError>("--shard selects rows of a manifest, and no manifest is given; leave --shard out");
  if (single && !options.prompt) {
    fail<UsageError>("{} is given without --prompt; a single request needs its text",
                     options.image ? "--image" : "--save-file");
  }
  if (options.time_limit_s && options.max_hours)
    fail<UsageError>("--time-limit and --max-hours are two ways to give one limit; give one of them");
  if (options.plan && options.dry_run) fail<UsageError>("--plan and --dry-run exclude each other");
  if (options.list_rows && (options.plan || options.dry_run))
    fail<UsageError>("--list-rows and {} exclude each other", options.plan ? "--plan" : "--dry-run");
  if (options.list_rows && options.continue_with)
    fail<UsageError>("--list-rows prints all rows of a manifest or of a --shard; leave --continue out");
  if (options.list_rows && !options.manifest)
    fail<UsageError>("--list-rows prints the rows of a manifest, and no manifest is given");
  if (!options.plan && !options.dry_run && options.gpus)
    fail<UsageError>("--gpus goes with --plan or --dry-run only; mpirun sets the ranks of a run");
  if (!options.plan && !options.dry_run && options.gpu_memory_bytes)
    fail<UsageError>("--gpu-memory goes with --plan or --dry-run only; a run asks the GPUs themselves");
  if (!options.plan && options.measured)
    fail<UsageError>("--measured goes with --plan only; a run measures its times itself");
  if (!options.manifest && !single && !options.plan)
    fail<UsageError>("there is nothing to make: give a manifest, or --prompt with --image; see --help");
  const bool names_model = !options.ckpt_dir.empty() || options.parts.has_experts();
  if (!names_model && options.plan && !options.task) {
    fail<UsageError>(
        "--plan needs a model's sizes: give --ckpt-dir, or without a checkpoint --task, for example "
        "i2v-A14B");
  }
  if (!names_model && !options.plan && !options.list_rows) {
    fail<UsageError>(
        "--ckpt-dir is missing: the folder of the checkpoint. Parts that lie apart are named by --model (or "
        "--high-noise-model and --low-noise-model), --vae, --text-encoder, --tokenizer");
  }
}

/// --save-file decides where all files of its request lie. Another --output-dir would have no effect.
void check_folder(const GivenOptions& given, const launch::Options& options) {
  const auto folder = given.find("output-dir");
  if (!options.save_file || folder == given.end()) return;
  const bool wins = folder->second.is_in_file && !given.at("save-file").is_in_file;
  const auto whole = [](const std::filesystem::path& path) {
    std::error_code unknown;  // where the working folder is gone, the path as it is written
    const std::filesystem::path absolute = std::filesystem::absolute(path, unknown);
    return (unknown ? path : absolute).lexically_normal();
  };
  const std::filesystem::path in_folder = options.output_dir / options.save_file->filename();
  if (wins || whole(in_folder) == whole(*options.save_file)) return;
  fail<UsageError>(
      "--save-file {} says where the video and all other files of the request lie, so --output-dir {} would "
      "have no effect: leave it out, or write --save-file {}",
      options.save_file->string(), options.output_dir.string(), in_folder.string());
}

/// Checks the rules for drafts and for going on with some of them.
void check_drafts(const launch::Options& options) {
  if (options.draft && !options.stop_after_step)
    fail<UsageError>("--draft needs --stop-after-step K: the steps of each item before its preview");
  if (!options.draft && options.stop_after_step) {
    fail<UsageError>("--stop-after-step goes with --draft only; --time-limit and {} stop a run early",
                     "the file OUT/STOP");
  }
  if (!options.draft && (options.draft_frames || options.draft_shrink))
    fail<UsageError>("--draft-frames and --draft-scale go with --draft only");
  if (options.draft && options.save_latents)
    fail<UsageError>("--save-latents writes final latents, and --draft makes none: leave one of them out");
  if (options.continue_with && !options.manifest)
    fail<UsageError>("--continue chooses rows of a manifest, and no manifest is given");
}

}  // namespace

ParsedCommandLine parse_options(std::span<const std::string> arguments) {
  ParsedCommandLine result;
  const OptionParser options = parser();
  GivenOptions given = options.parse_command_line(arguments);
  result.action = OptionParser::action_of(given);
  if (result.action != Action::run) return result;
  result.demo = arguments.empty();
  if (result.demo) {
    options.add_config_file(demo_config_file,
                            "no option is given, and the demo is not in this folder (see --help)", given);
  } else {
    options.add_named_config_file(given);
  }
  result.options = options.apply(given);
  check_consistency(result.options);
  check_folder(given, result.options);
  check_drafts(result.options);
  if (result.options.max_hours) result.options.time_limit_s = 3600 * *result.options.max_hours;
  return result;
}

double parse_max_hours(std::string_view text) {
  constexpr double most_hours = 1e6;
  const double hours = parse_real(text, 0, most_hours);
  if (3600 * hours < 1) fail<ValueError>("'{}' hours are less than a second", text);
  return hours;
}

double parse_time_limit(std::string_view text) {
  constexpr std::int64_t most = 1'000'000;
  const auto wrong = [&] {
    fail<ValueError>("'{}' is not a time; write for example 30 (minutes), 01:30:00 or 1-12:00:00", text);
  };
  std::string_view rest = text;
  std::int64_t days = 0;
  const std::size_t dash = rest.find('-');
  const bool has_days = dash != std::string_view::npos;
  std::vector<std::int64_t> numbers;
  try {
    if (has_days) {
      days = parse_integer(rest.substr(0, dash), 0, most);
      rest.remove_prefix(dash + 1);
    }
    for (std::size_t colon = 0; colon != std::string_view::npos; rest.remove_prefix(colon + 1)) {
      colon = rest.find(':');
      numbers.push_back(parse_integer(rest.substr(0, colon), 0, most));
      if (colon == std::string_view::npos) break;
    }
  } catch (const ValueError&) {
    wrong();
  }
  if (numbers.size() > 3) wrong();
  // With days, the first number is hours. Without days, one number is minutes, and two are minutes and
  // seconds.
  if (!has_days && numbers.size() < 3) numbers.insert(numbers.begin(), 0);
  numbers.resize(3);
  const std::int64_t seconds = ((days * 24 + numbers[0]) * 60 + numbers[1]) * 60 + numbers[2];
  if (seconds < 1) fail<ValueError>("the time limit is zero");
  return static_cast<double>(seconds);
}

std::string help_text() {
  std::ostringstream text;
  text << "Makes a video of each image and prompt of a manifest with Wan2.2, on one or many ranks.\n\n"
          "  wan_batch [options] MANIFEST\n"
          "  wan_batch [options] --image FILE --prompt TEXT --save-file FILE.mp4\n"
          "  wan_batch                      the demo in inputs/demo\n"
          "  wan_batch status OUT           the status of a batch, from its output folder\n"
          "  mpirun -np N wan_batch ...     the same on N ranks\n\n";
  text << parser().help();
  text << "Names may be shortened, and written with underscores as in generate.py. A value in brackets\n"
          "may be left out; the option alone means on.\n"
          "Exit codes: 0 all done; 2 usage or configuration; 3 some items failed; 85 stopped early, run\n"
          "again to go on; 1 anything else.\n";
  return text.str();
}

}  // namespace wan::apps
