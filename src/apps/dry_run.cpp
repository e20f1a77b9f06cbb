#include "apps/dry_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/input_notes.h"
#include "apps/run_identity.h"
#include "comm/mpi/launch.h"
#include "core/check.h"
#include "core/console.h"
#include "core/strings.h"
#include "engine/checkpoint_match.h"
#include "engine/validate.h"
#include "launch/distilled_model.h"
#include "model/model_kind.h"
#include "text/tokenizer.h"

namespace wan::apps {
namespace {

// For trace, log and records.
constexpr double fixed_bytes = 8 << 20;
constexpr double video_bytes_per_pixel = 0.1;
// For latent, solver history and more: four tensors of 16 channels in fp32, with 256 pixels for a latent
// position.
constexpr double state_bytes_per_pixel = 1;
// For --save-latents: three bytes of colour, and the latent.
constexpr double latents_bytes_per_pixel = 3.25;
constexpr double step_latent_bytes_per_pixel = 0.25;  // for each step

double pixels_of(const Request& request) {
  return static_cast<double>(request.size.width) * request.size.height * request.frame_num;
}

bool fits_host(const Request& request, const model::ModelKind& kind, const engine::HostUse& use) {
  try {
    engine::require_host_memory(request, request.size, kind, use, engine::host_limit_bytes());
    return true;
  } catch (const ItemError&) {
    return false;
  }
}

}  // namespace

std::int64_t check_rows(const launch::Options& options, const launch::RunInput& input,
                        const checkpoint::TextEncoderConfig& encoder, const std::string& layout,
                        const std::set<std::size_t>& beyond_gpus, const engine::HostUse& use, Log& log) {
  const text::Tokenizer tokenizer(input.checkpoint.tokenizer);  // a run reads it when it loads the checkpoint
  engine::require_tokenizer_fits(input.checkpoint.tokenizer, tokenizer, encoder);
  warn_of_input(input, log);
  warn_of_lost_texts(input, tokenizer, log);
  const model::ModelKind& kind = model::model_kind(input.checkpoint.task.name);
  std::int64_t bad = 0;
  for (std::size_t place = 0; place < input.rows.size(); ++place) {
    const manifest::ManifestRow& row = input.rows[place];
    std::string error = row.error.value_or("");
    try {
      if (error.empty()) {
        for (const std::string& note : engine::validate_request(launch::resolve_row(input, row), kind, use)) {
          log.warn("{}: {}", row.id, note);
        }
      }
    } catch (const ItemError& problem) {
      error = manifest::with_place(problem, row, input.manifest_name).what();
    }
    if (error.empty() && beyond_gpus.contains(place)) {
      error = "no layout of these GPUs has room for a video of this size; --plan shows what it takes";
    }
    if (error.empty()) error = obstacle_to(options, row);
    if (error.empty()) continue;
    ++bad;
    log.error("{}: {}", row.id, error);
  }
  if (const std::string text = launch::describe_distilled_model(input); !text.empty())
    print_result(text + "\n");
  print_result(fmt::format("{} item{} checked, {} would fail; layout {}; nothing was written\n",
                           input.rows.size(), input.rows.size() == 1 ? "" : "s", bad, layout));
  return bad;
}

void check_space_and_lacks(const store::OutputProbe& probe, const launch::RunInput& input,
                           const launch::Options& options, const engine::HostUse& use, Log& log) {
  if (const std::string problem = comm::describe_temporary_folder(); !problem.empty())
    log.warn("{}", problem);
  const std::string folder = printable(options.output_dir.string());
  if (!probe.no_links.empty())
    log.warn("{} has no hard links ({}): claims are copies there", folder, probe.no_links);
  if (!probe.no_locks.empty())
    log.warn("{} has no locks ({}): the index of traces is made without one", folder, probe.no_locks);
  if (!probe.free_bytes) return;
  const double kept = video_bytes_per_pixel + (options.save_latents ? latents_bytes_per_pixel : 0);
  const model::ModelKind& kind = model::model_kind(input.checkpoint.task.name);
  double all = fixed_bytes;
  double largest = 0;
  for (const manifest::ManifestRow& row : input.rows) {
    if (row.error) continue;
    const Request request = launch::resolve_row(input, row);
    if (!fits_host(request, kind, use)) continue;  // the item fails by itself
    const double pixels = pixels_of(request);
    const double steps_kept = options.step_latents ? request.sample_steps : 0;
    all += (kept + steps_kept * step_latent_bytes_per_pixel) * pixels;
    largest = std::max(largest, pixels);
  }
  const auto free = static_cast<double>(*probe.free_bytes);
  const double least = fixed_bytes + (kept + state_bytes_per_pixel) * largest;
  all += state_bytes_per_pixel * largest;
  const std::string remedy = "free some space or choose another --output-dir";
  constexpr double mib = 1 << 20;
  if (free < least) {
    fail<UsageError>(
        "{} has {:.1f} MiB free, and the largest item takes about {:.0f} MiB with trace and state; {}",
        folder, free / mib, least / mib, remedy);
  }
  if (free < all) {
    log.warn("{} has {:.0f} MiB free, and all items together take about {:.0f} MiB; {}", folder, free / mib,
             all / mib, remedy);
  }
}

}  // namespace wan::apps
