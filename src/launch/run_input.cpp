#include "launch/run_input.h"

#include <algorithm>
#include <unordered_map>

#include "checkpoint/checkpoint.h"
#include "checkpoint/folder_notes.h"
#include "core/check.h"
#include "core/printable.h"
#include "engine/model_parts.h"
#include "engine/validate.h"
#include "gpu/device.h"
#include "launch/agreement.h"
#include "launch/option_names.h"
#include "launch/run_loras.h"
#include "manifest/chosen_ids.h"
#include "manifest/item_id.h"
#include "model/distilled.h"
#include "model/model_kind.h"
#include "model/precision_name.h"
#include "text/clean.h"

namespace wan::launch {
namespace {

constexpr std::size_t longest_shown_path = 200;  // in a message, in bytes
constexpr std::uintmax_t largest_model_on_cpu_bytes = 2'000'000'000;

void check_task(const Options& options, const checkpoint::CheckpointFolder& folder) {
  if (options.task && *options.task != folder.task.name) {
    fail<UsageError>("--task {}: the checkpoint {} is of {}", *options.task, folder.root.string(),
                     folder.task.name);
  }
}

/// The task of a plan without a checkpoint.
Task known_task(const Options& options) {
  if (!options.plan || !options.task) {
    fail<UsageError>(
        "--ckpt-dir is missing: name the folder of a checkpoint, or its parts by --model, --vae, ...");
  }
  return model::model_kind(*options.task).as_task();
}

/// The row of --image, --prompt and --save-file. An error in it is an option's error.
manifest::ManifestRow single_row(const Options& options, TaskKind kind) {
  manifest::ManifestRow row;
  row.prompt = *options.prompt;
  if (kind == TaskKind::i2v || (kind == TaskKind::ti2v && options.image)) {
    if (!options.image) fail<UsageError>("--image: the checkpoint makes videos from images; name one");
    row.image = *options.image;
    std::error_code error;
    const auto type = std::filesystem::status(row.image, error).type();
    if (type == std::filesystem::file_type::not_found || type == std::filesystem::file_type::none) {
      const bool is_absent = type == std::filesystem::file_type::not_found;
      fail<UsageError>("--image {}: {}", printable(row.image.string(), longest_shown_path),
                       is_absent ? "there is no such file" : error.message());
    }
  } else if (options.image) {
    fail<UsageError>("--image: the checkpoint makes videos from text alone; leave it out");
  }
  if (!options.save_file) return row;  // its name follows from all of its values
  row.id = options.save_file->stem().string();
  try {
    manifest::check_id(row.id);
  } catch (const ValueError& error) {
    fail<UsageError>("--save-file {}: {}", printable(options.save_file->string(), longest_shown_path),
                     error.what());
  }
  return row;
}

/// A negative prompt of which cleaning leaves nothing means the default, as in generate.py.
void drop_empty_negative_prompts(RunInput& input) {
  std::unordered_map<std::string, bool> known;  // most rows have the same one
  const auto drop = [&](std::optional<std::string>& text) {
    if (!text || text->size() > text::longest_prompt_bytes) return;
    const auto [found, is_new] = known.try_emplace(*text, false);
    if (is_new) found->second = text::clean_prompt(*text).empty();
    if (found->second) text.reset();
  };
  drop(input.overrides.negative_prompt);
  for (manifest::ManifestRow& row : input.rows) drop(row.overrides.negative_prompt);
}

/// The id of a single request without --save-file: its values decide the name, as a manifest row's do.
std::string id_of_values(const Request& request, const Options& options) {
  const std::string boundary = request.boundary ? fmt::format("{}", *request.boundary) : "none";
  std::string values = fmt::format("{}\n{}\n{}\n{}*{} {} {} {} {},{} {} {} {} {} {} {}",
                                   request.image.string(), request.prompt, request.negative_prompt,
                                   request.size.width, request.size.height, request.frame_num,
                                   request.sample_steps, request.sample_shift, request.guide_scale.low_noise,
                                   request.guide_scale.high_noise, boundary, to_string(request.solver),
                                   to_string(request.noise_device), request.fps, request.codec, request.crf);
  if (options.request.seed) values += fmt::format(" seed {}", request.seed);
  for (const LoraChoice& lora : options.request.loras.value_or(std::vector<LoraChoice>()))
    values += fmt::format(" {}", to_text(lora));
  const std::string hint =
      request.image.empty() ? request.prompt.substr(0, 40) : request.image.stem().string();
  return manifest::automatic_id(hint, values);
}

/// Leaves the rows that --continue names.
void keep_chosen(comm::Communicator& world, const Options& options, TaskKind kind, RunInput& input) {
  if (!options.continue_with) return;
  const std::filesystem::path& path = *options.continue_with;
  const std::string text = on_rank_0(
      world, [&] { return hinting_at("--continue", [&] { return manifest::read_manifest(path); }); });
  agree(world, [&] {
    hinting_at("--continue; --list-rows prints the ids",
               [&] { manifest::keep_chosen(input.rows, manifest::chosen_ids(text, path, kind), path); });
  });
}

}  // namespace

RunInput read_run_input(comm::Communicator& world, const Options& options, bool on_gpu) {
  RunInput input;
  agree(world, [&] {
    if (options.ckpt_dir.empty() && !options.parts.has_experts()) {
      input.checkpoint.task = known_task(options);
      return;
    }
    input.checkpoint =
        checkpoint::inspect_checkpoint(options.ckpt_dir, options.parts, options.task.value_or(""));
    check_task(options, input.checkpoint);
    if (!on_gpu && !options.plan && !options.dry_run) check_cpu_run(options, input.checkpoint);
  });
  agree(world, [&] {
    if (options.precision == Precision::fp16)
      model::require_fp16_offered(model::model_kind(input.checkpoint.task.name), "--precision fp16");
    model::require_values_fit(model::model_kind(input.checkpoint.task.name), options.request.boundary,
                              options.request.guide_scale, "--boundary", "--sample-guide-scale");
    if (options.request.size) {
      model::require_size_fits(model::model_kind(input.checkpoint.task.name), *options.request.size,
                               "--size");
    }
  });
  const TaskKind kind = input.checkpoint.task.kind;
  if (options.manifest) {
    const std::string text = on_rank_0(world, [&] { return manifest::read_manifest(*options.manifest); });
    agree(world, [&] { input.rows = manifest::parse_manifest(text, *options.manifest, kind, &input.notes); });
    input.whole_rows = std::ssize(input.rows);
    if ((options.shard || options.continue_with) && world.rank() == 0) input.whole = input.rows;
    keep_chosen(world, options, kind, input);
    if (options.shard) manifest::keep_shard(input.rows, *options.shard);
    input.manifest_name = options.manifest->string();
  } else if (options.prompt) {
    agree(world, [&] {
      input.rows.push_back(single_row(options, kind));
      input.whole_rows = 1;
      engine::require_prompt("--prompt", input.rows.front().prompt);
    });
  }
  input.draft = draft_of(options);
  input.is_chosen = options.continue_with.has_value();
  input.overrides = options.request;
  input.overrides.seed.reset();
  agree(world, [&] { drop_empty_negative_prompts(input); });
  find_lora_sets(world, options, input);
  const std::string base_seed = on_rank_0(world, [&] {
    return std::to_string(options.request.seed ? *options.request.seed : manifest::draw_base_seed());
  });
  input.settings = {.base_seed = std::stoull(base_seed),
                    .base_seed_is_drawn = !options.request.seed,
                    .noise_device = options.noise_device,
                    .fps = options.fps.value_or(input.checkpoint.task.defaults.fps),
                    .codec = options.codec,
                    .crf = options.crf};
  if (options.prompt && !options.save_file && !input.rows.empty()) {
    input.rows.front().id = id_of_values(resolve_row(input, input.rows.front()), options);
  }
  return input;
}

void check_cpu_run(const Options& options, const checkpoint::CheckpointFolder& checkpoint) {
  if (options.noise_device == NoiseDevice::cuda) {
    fail<UsageError>("--noise-device cuda needs a GPU, and this run is on the CPU; use --noise-device cpu");
  }
  if (options.precision == Precision::bf16 || options.precision == Precision::fp16) {
    fail<UsageError>(
        "--precision {} needs a GPU, and this run is on the CPU, which computes in fp32; use --precision "
        "fp32",
        options.precision == Precision::bf16 ? bf16_name : fp16_name);
  }
  if (options.offload_model == Offload::on) {
    fail<UsageError>(
        "--offload-model on moves weights between GPU and host, and this run is on the CPU; leave it "
        "out, or keep one expert in memory with --offload-model disk");
  }
  if (options.device == Device::cpu) return;
  const std::uintmax_t bytes = checkpoint::parts_bytes(checkpoint);
  if (bytes > largest_model_on_cpu_bytes) {
    fail<UsageError>(
        "no GPU was found, and a model of {:.1f} GB would take days on the CPU; run where there is a GPU, or "
        "insist with --device cpu",
        static_cast<double>(bytes) / 1e9);
  }
}

engine::HostUse host_use(const Options& options, const checkpoint::CheckpointFolder& checkpoint) {
  const bool is_small = checkpoint::parts_bytes(checkpoint) <= largest_model_on_cpu_bytes;
  const bool on_cpu = options.device == Device::cpu ||
                      (options.device == Device::automatic && is_small && gpu::visible_gpus().count == 0);
  const auto vae = checkpoint::Checkpoint::open_part(checkpoint::Part::vae, checkpoint.vae);
  const auto config = engine::vae_model(vae).config;
  const std::int64_t patch = config.pixel_patch();
  return {.computes = on_cpu, .vae_width = config.decoder_level(0) / (patch * patch)};
}

int steps_to_make(const RunInput& input, const Request& request) {
  return input.draft.is_wanted() ? std::min(input.draft.after_step, request.sample_steps)
                                 : request.sample_steps;
}

Request resolve_row(const RunInput& input, const manifest::ManifestRow& row) {
  return manifest::resolve(row, input.overrides, input.checkpoint.task.defaults, input.settings);
}

}  // namespace wan::launch
