#include "apps/run_input.h"

#include "apps/agreement.h"
#include "batch/item_id.h"
#include "checkpoint/folder_notes.h"
#include "core/check.h"
#include "engine/validate.h"

namespace wan::apps {
namespace {

constexpr std::uintmax_t largest_model_on_cpu_bytes = 2'000'000'000;

void check_task(const Options& options, const checkpoint::CheckpointFolder& folder) {
  if (options.task && *options.task != folder.task.name) {
    fail<UsageError>("--task {}: the checkpoint {} is of {}", *options.task, folder.root.string(),
                     folder.task.name);
  }
}

/// The task of a plan without a checkpoint.
Task known_task(const Options& options) {
  if (!options.plan || !options.task)
    fail<UsageError>("--ckpt-dir is missing: name the folder of a checkpoint in the official layout");
  const TaskKind kind = options.task->starts_with("i2v") ? TaskKind::i2v : TaskKind::t2v;
  return {.kind = kind, .name = *options.task, .defaults = default_parameters(kind)};
}

/// The row of --image, --prompt and --save-file. What is wrong with it is an option's fault.
batch::ManifestRow single_row(const Options& options, TaskKind kind) {
  batch::ManifestRow row;
  row.prompt = *options.prompt;
  if (kind == TaskKind::i2v) {
    if (!options.image) fail<UsageError>("--image: the checkpoint makes videos from images; name one");
    row.image = *options.image;
    if (!std::filesystem::exists(row.image))
      fail<UsageError>("--image {}: there is no such file", row.image.string());
  } else if (options.image) {
    fail<UsageError>("--image: the checkpoint makes videos from text alone (t2v-A14B); leave it out");
  }
  const std::string hint = kind == TaskKind::i2v ? row.image.stem().string() : row.prompt.substr(0, 40);
  row.id = options.save_file ? options.save_file->stem().string()
                             : batch::automatic_id(hint, row.prompt + row.image.string());
  try {
    batch::check_id(row.id);
  } catch (const ValueError& error) {
    fail<UsageError>("--save-file {}: {}", options.save_file->string(), error.what());
  }
  return row;
}

}  // namespace

RunInput read_run_input(comm::Communicator& world, const Options& options, bool on_gpu) {
  RunInput input;
  agree(world, [&] {
    if (options.ckpt_dir.empty()) {
      input.checkpoint.task = known_task(options);
      return;
    }
    input.checkpoint = checkpoint::inspect_checkpoint(options.ckpt_dir);
    check_task(options, input.checkpoint);
    if (!on_gpu && !options.plan && !options.dry_run) check_cpu_run(options, input.checkpoint);
  });
  const TaskKind kind = input.checkpoint.task.kind;
  if (options.manifest) {
    const std::string text = on_rank_0(world, [&] { return batch::read_manifest(*options.manifest); });
    agree(world, [&] { input.rows = batch::parse_manifest(text, *options.manifest, kind); });
    input.whole_rows = std::ssize(input.rows);
    if (options.shard) {
      if (world.rank() == 0) input.whole = input.rows;
      batch::keep_shard(input.rows, *options.shard);
    }
    input.manifest_name = options.manifest->string();
  } else if (options.prompt) {
    agree(world, [&] {
      input.rows.push_back(single_row(options, kind));
      input.whole_rows = 1;
      engine::require_prompt("--prompt", input.rows.front().prompt);
    });
  }
  input.overrides = options.request;
  input.overrides.seed.reset();
  const std::string base_seed = on_rank_0(world, [&] {
    const std::int64_t asked = options.request.seed.value_or(-1);
    return std::to_string(asked >= 0 ? asked : batch::draw_base_seed());
  });
  input.settings = {.base_seed = std::stoll(base_seed),
                    .noise_device = options.noise_device,
                    .fps = options.fps.value_or(input.checkpoint.task.defaults.fps),
                    .codec = options.codec,
                    .crf = options.crf};
  return input;
}

void check_cpu_run(const Options& options, const checkpoint::CheckpointFolder& checkpoint) {
  if (options.noise_device == NoiseDevice::cuda) {
    fail<UsageError>("--noise-device cuda needs a GPU, and this run is on the CPU; use --noise-device cpu");
  }
  if (options.precision == Precision::exact) {
    fail<UsageError>(
        "--precision exact is bf16 on a GPU, and this run is on the CPU, which computes in fp32; use "
        "--precision fp32");
  }
  if (options.offload_model == Switch::on) {
    fail<UsageError>(
        "--offload-model on moves weights between GPU and host, and this run is on the CPU; leave it out");
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

Request resolve_row(const RunInput& input, const batch::ManifestRow& row) {
  return batch::resolve(row, input.overrides, input.checkpoint.task.defaults, input.settings);
}

}  // namespace wan::apps
