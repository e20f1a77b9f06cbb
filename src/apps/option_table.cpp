#include "apps/option_table.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "apps/option_values.h"
#include "core/check.h"
#include "core/printable.h"
#include "model/model_kind.h"
#include "model/precision_name.h"

namespace wan::apps {
namespace {

constexpr int largest_rank_count = 65536;
constexpr double longest_timeout_s = 86400;
constexpr int most_draft_steps = 10000;

/// Parses one of a few words. The message lists them.
template <typename Words>
auto parse_word(std::string_view text, const Words& words) {
  std::string known;
  for (const auto& [word, value] : words) {
    if (text == word) return value;
    known += known.empty() ? "" : ", ";
    known += word;
  }
  fail<ValueError>("'{}' is not one of {}", text, known);
}

launch::Switch parse_automatic_switch(std::string_view text) {
  if (text == "auto") return launch::Switch::automatic;
  try {
    return parse_switch(text) ? launch::Switch::on : launch::Switch::off;
  } catch (const ValueError&) {
    fail<ValueError>("'{}' is not one of on, off, auto", text);
  }
}

launch::Offload parse_offload(std::string_view text) {
  if (text == "auto") return launch::Offload::automatic;
  if (text == "disk") return launch::Offload::disk;
  try {
    return parse_switch(text) ? launch::Offload::on : launch::Offload::off;
  } catch (const ValueError&) {
    fail<ValueError>("'{}' is not one of on, off, disk, auto", text);
  }
}

/// A count of ranks or threads, or nothing for "auto".
std::optional<int> parse_count_or_auto(std::string_view text, int largest, int smallest = 1) {
  if (text == "auto") return std::nullopt;
  if (text.find_first_of("0123456789") == std::string_view::npos)
    fail<ValueError>("'{}' is neither auto nor a whole number", printable(text, 40));
  return static_cast<int>(parse_integer(text, smallest, largest));
}

/// Sets which latents of a video are kept: "final", "steps", or a switch.
void parse_save_latents(launch::Options& o, std::string_view text) {
  o.step_latents = text == "steps";
  o.save_latents = o.step_latents || text == "final";
  if (o.save_latents) return;
  try {
    o.save_latents = parse_switch(text);
  } catch (const ValueError&) {
    fail<ValueError>("'{}' is not one of final, steps, off", printable(text, 40));
  }
}

/// "N" equal chunks, "A+B+..." heads, or nothing for "auto".
parallel::HeadChunkWish parse_head_chunks(std::string_view text) {
  if (text.find('+') == std::string_view::npos)
    return {.count = parse_count_or_auto(text, largest_rank_count), .sizes = {}};
  parallel::HeadChunkWish wish;
  for (std::size_t first = 0; first <= text.size();) {
    const std::size_t end = std::min(text.find('+', first), text.size());
    wish.sizes.push_back(parse_integer(text.substr(first, end - first), 1, largest_rank_count));
    first = end + 1;
  }
  return wish;
}

kernels::AttentionBackend parse_attention(std::string_view text) {
  try {
    return kernels::parse_attention_backend(text);
  } catch (const UsageError& error) {
    fail<ValueError>("{}", error.what());
  }
}

std::string parse_task(std::string_view text) {
  std::vector<std::pair<std::string_view, std::string_view>> tasks;
  for (const model::ModelKind& kind : model::model_kinds()) tasks.emplace_back(kind.task, kind.task);
  return std::string(parse_word(text, tasks));
}

constexpr std::array<std::pair<std::string_view, launch::Device>, 3> device_words{
    {{"auto", launch::Device::automatic}, {"cuda", launch::Device::cuda}, {"cpu", launch::Device::cpu}}};
constexpr std::array<std::pair<std::string_view, NoiseDevice>, 2> noise_device_words{
    {{"cpu", NoiseDevice::cpu}, {"cuda", NoiseDevice::cuda}}};
constexpr std::array<std::pair<std::string_view, launch::Precision>, 4> precision_words{
    {{bf16_name, launch::Precision::bf16},
     {fp16_name, launch::Precision::fp16},
     {fp32_name, launch::Precision::fp32},
     {"fast", launch::Precision::fast}}};
constexpr std::array<std::pair<std::string_view, launch::VaePrecision>, 3> vae_precision_words{
    {{"exact", launch::VaePrecision::exact},
     {fp16_name, launch::VaePrecision::fp16},
     {bf16_name, launch::VaePrecision::bf16}}};
constexpr std::array<std::pair<std::string_view, launch::Objective>, 2> objective_words{
    {{"latency", launch::Objective::latency}, {"throughput", launch::Objective::throughput}}};
constexpr std::array<std::pair<std::string_view, LogLevel>, 3> log_level_words{
    {{"quiet", LogLevel::quiet}, {"normal", LogLevel::normal}, {"verbose", LogLevel::verbose}}};

constexpr std::array<std::pair<std::string_view, ProgressMode>, 4> progress_words{
    {{"auto", ProgressMode::automatic},
     {"bar", ProgressMode::bar},
     {"lines", ProgressMode::lines},
     {"off", ProgressMode::off}}};

using namespace option_group;

/// Takes the path of a part that is named by itself.
template <std::filesystem::path checkpoint::GivenParts::*part>
void set_part(launch::Options& options, std::string_view text) {
  options.parts.*part = parse_path(text);
}

void add_lora(launch::Options& options, std::string_view text) {
  if (!options.request.loras) options.request.loras.emplace();
  options.request.loras->push_back(parse_lora(text));
}

constexpr OptionEntry table[] = {
    {input, "ckpt-dir", Takes::value, "DIR",
     "checkpoint in the official layout or a Diffusers repository; sizes are read from it",
     [](launch::Options& o, std::string_view text) { o.ckpt_dir = parse_path(text); }},
    {input, "model", Takes::value, "PATH",
     "the only expert of a model: a file of weights (.safetensors; official, Diffusers or ComfyUI names; "
     "fp8_scaled, too) or a folder with config.json; takes the place of the one in --ckpt-dir",
     set_part<&checkpoint::GivenParts::model>},
    {input, "high-noise-model", Takes::value, "PATH",
     "the same for the first expert of a model with two; with --low-noise-model",
     set_part<&checkpoint::GivenParts::high_noise_model>},
    {input, "low-noise-model", Takes::value, "PATH", "the same for the second one",
     set_part<&checkpoint::GivenParts::low_noise_model>},
    {input, "vae", Takes::value, "PATH", "the VAE: a .pth or .safetensors file, or a folder with one",
     set_part<&checkpoint::GivenParts::vae>},
    {input, "text-encoder", Takes::value, "PATH", "umT5, likewise",
     set_part<&checkpoint::GivenParts::text_encoder>},
    {input, "image-encoder", Takes::value, "PATH", "CLIP, likewise, for i2v-14B",
     set_part<&checkpoint::GivenParts::image_encoder>},
    {input, "tokenizer", Takes::value, "PATH", "folder with umT5's tokenizer.json, or this file",
     set_part<&checkpoint::GivenParts::tokenizer>},
    {input, "lora", Takes::value, "FILE[:STRENGTH][@high|low|both]",
     "a LoRA that is added to the experts' weights as they are read: a .safetensors or .pt file of any "
     "dialect (kohya, PEFT, Diffusers, Lightning, LightX2V), or the folder of Wan2.2-Lightning; may be "
     "given several times (default: strength 1, both experts or the one that the file names). A manifest's "
     "rows may name their own in the column lora",
     add_lora, nullptr, true},
    {input, "task", Takes::value, "NAME",
     "official name of the model: i2v-A14B, t2v-A14B, t2v-1.3B, t2v-14B, i2v-14B or ti2v-5B; refused when "
     "the checkpoint is another; with --plan it needs no checkpoint",
     [](launch::Options& o, std::string_view text) { o.task = parse_task(text); }},
    {input, "manifest", Takes::value, "FILE",
     "CSV, JSON lines or a JSON list with columns image and prompt; - is standard input; the same as the "
     "bare argument",
     [](launch::Options& o, std::string_view text) { o.manifest = parse_path(text); }},
    {input, "shard", Takes::value, "I/N",
     "only the manifest's rows whose 0-based number leaves I when divided by N; seeds and ids stay those of "
     "the whole manifest, so that array tasks can share it and one output folder",
     [](launch::Options& o, std::string_view text) { o.shard = parse_shard(text); }},
    {input, "continue", Takes::value, "FILE",
     "only the manifest's rows whose ids FILE holds, one on each line; or FILE is a manifest with them; "
     "drafted items go on from their saved states, and the others stay as they are",
     [](launch::Options& o, std::string_view text) { o.continue_with = parse_path(text); }},
    {input, "image", Takes::value, "FILE", "one request without a manifest: its image",
     [](launch::Options& o, std::string_view text) { o.image = parse_path(text); }},
    {input, "prompt", Takes::value, "TEXT", "one request without a manifest: its prompt",
     [](launch::Options& o, std::string_view text) { o.prompt = parse_text(text); }},
    {input, "config", Takes::value, "FILE",
     "options as NAME = VALUE lines, # at the start of a line starts a comment; the command line wins"},

    {sampling, "size", Takes::value, "W*H",
     "pixels, or 480p or 720p (default: 1280*720, t2v-1.3B 832*480, ti2v-5B 1280*704); with an image an "
     "area, whose aspect follows the image",
     [](launch::Options& o, std::string_view text) { o.request.size = parse_size(text); }},
    {sampling, "lightning", Takes::optional, "on|off|auto",
     "the model is distilled: by default 4 steps of euler, shift 5 and guidance 1; auto: if the metadata or "
     "the names of its files say so (default: auto)",
     [](launch::Options& o, std::string_view text) { o.lightning = parse_automatic_switch(text); }},
    {sampling, "frame-num", Takes::value, "N", "frames, 4n+1 (default: 81, ti2v-5B 121)",
     [](launch::Options& o, std::string_view text) { o.request.frame_num = parse_frame_num(text); }},
    {sampling, "sample-steps", Takes::value, "N", "denoising steps (default: A14B and i2v-14B 40, others 50)",
     [](launch::Options& o, std::string_view text) { o.request.sample_steps = parse_sample_steps(text); }},
    {sampling, "sample-shift", Takes::value, "S",
     "shift of the noise schedule (default: t2v-A14B 12, i2v-14B at 480p 3, others 5)",
     [](launch::Options& o, std::string_view text) { o.request.sample_shift = parse_sample_shift(text); }},
    {sampling, "sample-guide-scale", Takes::value, "LOW[:HIGH]",
     "guidance of the low-noise and the high-noise expert, 1 for none; a model with one expert takes one "
     "value (default: i2v-A14B 3.5, t2v-A14B 3:4, others 5)",
     [](launch::Options& o, std::string_view text) { o.request.guide_scale = parse_guide_scale(text); }},
    {sampling, "boundary", Takes::value, "R",
     "share of the timesteps below which the low-noise expert works (default: i2v-A14B 0.9, t2v-A14B 0.875); "
     "refused for a model with one expert",
     [](launch::Options& o, std::string_view text) { o.request.boundary = parse_boundary(text); }},
    {sampling, "sample-solver", Takes::value, "NAME", "integrates the flow (default: unipc): ",
     [](launch::Options& o, std::string_view text) { o.request.solver = parse_solver_name(text); },
     describe_solvers},
    {sampling, "base-seed", Takes::value, "N",
     "a row without a seed takes N + its 0-based number; -1 draws N (default: -1)",
     [](launch::Options& o, std::string_view text) { o.request.seed = parse_seed(text); }},
    {sampling, "negative-prompt", Takes::value, "TEXT",
     "contents to avoid (default: the official text of the task)",
     [](launch::Options& o, std::string_view text) { o.request.negative_prompt = parse_text(text); }},
    {sampling, "noise-device", Takes::value, "NAME",
     "cpu: the same video everywhere; cuda: the noise generate.py draws on the same GPU (default: cpu)",
     [](launch::Options& o, std::string_view text) {
       o.noise_device = parse_word(text, noise_device_words);
     }},

    {output, "output-dir", Takes::value, "DIR", "videos, records, log and trace (default: outputs)",
     [](launch::Options& o, std::string_view text) { o.output_dir = parse_path(text); }},
    {output, "save-file", Takes::value, "FILE.mp4", "one request without a manifest: its video",
     [](launch::Options& o, std::string_view text) { o.save_file = parse_video_path(text); }},
    {output, "fps", Takes::value, "N", "frames per second (default: 16, ti2v-5B 24)",
     [](launch::Options& o, std::string_view text) {
       o.fps = static_cast<int>(parse_integer(text, 1, 240));
     }},
    {output, "codec", Takes::value, "NAME", "FFmpeg's name of the encoder (default: libx264)",
     [](launch::Options& o, std::string_view text) { o.codec = parse_codec(text); }},
    {output, "crf", Takes::value, "N", "quality, 1 (libx265: 0) to 51, smaller is better (default: 10)",
     [](launch::Options& o, std::string_view text) { o.crf = static_cast<int>(parse_integer(text, 0, 51)); }},
    {output, "save-latents", Takes::optional, "final|steps|off",
     "final, or no value: also write each video's final latent and its frames; steps: the latent after each "
     "step, too (default: off)",
     parse_save_latents},
    {output, "stop-after-step", Takes::value, "K", "with --draft: denoising steps that are made of each item",
     [](launch::Options& o, std::string_view text) {
       o.stop_after_step = static_cast<int>(parse_integer(text, 1, most_draft_steps));
     }},
    {output, "draft", Takes::nothing, "",
     "make K steps of each item, save its state, and write a preview, ID.draft.mp4, of what the last step "
     "predicts; --continue goes on with the items that you choose",
     [](launch::Options& o, std::string_view text) { o.draft = parse_switch(text); }},
    {output, "draft-frames", Takes::value, "N",
     "first frames of the video that a preview shows, 4n+1; half of them cost half the decoding (default: "
     "all)",
     [](launch::Options& o, std::string_view text) { o.draft_frames = parse_frame_num(text); }},
    {output, "draft-scale", Takes::value, "S",
     "height and width of a preview: 1, 1/2 or 1/4 of the video's; 1/2 costs a quarter of the decoding "
     "(default: 1)",
     [](launch::Options& o, std::string_view text) { o.draft_shrink = parse_draft_scale(text); }},
    {output, "trace", Takes::value, "FILE", "HDF5 trace (default: trace.h5 in the output folder)",
     [](launch::Options& o, std::string_view text) { o.trace = parse_path(text); }},

    {machine, "device", Takes::value, "NAME", "auto, cuda or cpu (default: auto)",
     [](launch::Options& o, std::string_view text) { o.device = parse_word(text, device_words); }},
    {machine, "precision", Takes::value, "NAME",
     "bf16 (also written exact) on GPUs, fp16 on GPUs for t2v-1.3B and ti2v-5B, or fp32 (default: bf16 on "
     "a GPU, fp32 on the CPU)",
     [](launch::Options& o, std::string_view text) {
       o.precision = parse_word(current_precision_name(text), precision_words);
     }},
    {machine, "vae-precision", Takes::value, "NAME",
     "exact, or the approximations fp16 and bf16: the VAE's activations and weights in 16 bits (default: "
     "exact, as --precision says)",
     [](launch::Options& o, std::string_view text) {
       o.vae_precision = parse_word(text, vae_precision_words);
     }},
    {machine, "attention", Takes::value, "NAME", "library of the attention kernel (default: automatic): ",
     [](launch::Options& o, std::string_view text) { o.attention = parse_attention(text); },
     kernels::describe_attention_backends},
    {machine, "objective", Takes::value, "NAME",
     "aim of the layout: latency of each video or throughput of the batch (default: latency)",
     [](launch::Options& o, std::string_view text) { o.objective = parse_word(text, objective_words); }},
    {machine, "group-size", Takes::value, "N|auto",
     "ranks that make one video; divides the ranks (default: auto)",
     [](launch::Options& o, std::string_view text) {
       o.group_size = parse_count_or_auto(text, largest_rank_count);
     }},
    {machine, "cfg-size", Takes::value, "N|auto",
     "2: one half of the ranks makes the pass with the prompt, the other half the pass without; 1: all "
     "ranks make both (default: auto)",
     [](launch::Options& o, std::string_view text) { o.cfg_size = parse_count_or_auto(text, 2); }},
    {machine, "ulysses-size", Takes::value, "N|auto",
     "ranks that share a sequence and its heads (default: auto)",
     [](launch::Options& o, std::string_view text) {
       o.ulysses_size = parse_count_or_auto(text, largest_rank_count);
     }},
    {machine, "head-chunks", Takes::value, "N|A+B+...|auto",
     "parts of an exchange between these ranks; one part is sent while another is computed. N: so many "
     "equal parts. A+B+...: heads of each part on the rank with the most heads, in steps with guidance if "
     "there are any (default: auto)",
     [](launch::Options& o, std::string_view text) { o.head_chunks = parse_head_chunks(text); }},
    {machine, "dit-fsdp", Takes::optional, "on|off|auto", "shard the transformers' weights (default: auto)",
     [](launch::Options& o, std::string_view text) { o.dit_fsdp = parse_automatic_switch(text); }},
    {machine, "t5-fsdp", Takes::optional, "on|off|auto", "shard the text encoder's weights (default: auto)",
     [](launch::Options& o, std::string_view text) { o.t5_fsdp = parse_automatic_switch(text); }},
    {machine, "t5-cpu", Takes::optional, "on|off", "run the text encoder on the CPU (default: off)",
     [](launch::Options& o, std::string_view text) { o.t5_cpu = parse_switch(text); }},
    {machine, "offload-model", Takes::optional, "on|off|disk|auto",
     "keep the expert that is not at work in host memory, or on disk: then several items go through the "
     "first expert before the second is read (default: auto)",
     [](launch::Options& o, std::string_view text) { o.offload_model = parse_offload(text); }},
    {machine, "blocks-on-host", Takes::value, "N|auto", "transformer blocks streamed from host memory"},
    {machine, "convert-model-dtype", Takes::optional, "on|off",
     "changes nothing; generate.py has this option. --precision decides",
     [](launch::Options&, std::string_view text) { parse_switch(text); }},

    {running, "plan", Takes::nothing, "",
     "print layout, bytes per GPU, expected times and why no other layout, and exit",
     [](launch::Options& o, std::string_view text) { o.plan = parse_switch(text); }},
    {running, "gpus", Takes::value, "N",
     "with --plan or --dry-run: GPUs to plan for (default: those of this run)",
     [](launch::Options& o, std::string_view text) {
       o.gpus = static_cast<int>(parse_integer(text, 1, largest_rank_count));
     }},
    {running, "gpu-memory", Takes::value, "BYTES",
     "with --plan or --dry-run: memory of each GPU, for example 48GiB (default: a GPU's here)",
     [](launch::Options& o, std::string_view text) { o.gpu_memory_bytes = parse_bytes(text); }},
    {running, "measured", Takes::value, "FILE",
     "with --plan: this site's own times in place of this program's, as jobs/analysis.sh report --json "
     "wrote them",
     [](launch::Options& o, std::string_view text) { o.measured = parse_path(text); }},
    {running, "dry-run", Takes::nothing, "", "check every row, image and the checkpoint; write nothing",
     [](launch::Options& o, std::string_view text) { o.dry_run = parse_switch(text); }},
    {running, "list-rows", Takes::nothing, "",
     "print the manifest's rows as JSON lines, as this program reads them, and exit; needs no checkpoint",
     [](launch::Options& o, std::string_view text) { o.list_rows = parse_switch(text); }},
    {running, "no-resume", Takes::nothing, "",
     "make items again that are already done (a requeued Slurm job: only in its first start)",
     [](launch::Options& o, std::string_view text) { o.resume = !parse_switch(text); }},
    {running, "retry-failed", Takes::nothing, "",
     "try items again that an earlier run recorded as failed (a requeued Slurm job: likewise)",
     [](launch::Options& o, std::string_view text) { o.retry_failed = parse_switch(text); }},
    {running, "time-limit", Takes::value, "HH:MM:SS",
     "stop in time: save the item in flight, exit with code 85; a time as sbatch takes it: MM, D-HH:MM "
     "(default: the end of the Slurm job, if there is one; the earlier of both counts)",
     [](launch::Options& o, std::string_view text) { o.time_limit_s = parse_time_limit(text); }},
    {running, "max-hours", Takes::value, "H", "the same as --time-limit, in hours: 1.5",
     [](launch::Options& o, std::string_view text) { o.max_hours = parse_max_hours(text); }},
    {running, "checkpoint-interval", Takes::value, "MIN",
     "time between saved states of the item in flight; 0: save after every step (default: 5)",
     [](launch::Options& o, std::string_view text) {
       o.checkpoint_interval_s = 60 * parse_real(text, 0, longest_timeout_s);
     }},
    {running, "join-groups", Takes::optional, "on|off",
     "groups without work join their neighbours' items (default: on)",
     [](launch::Options& o, std::string_view text) { o.join_groups = parse_switch(text); }},
    {running, "writers", Takes::value, "N|auto",
     "threads of each group that write its videos while it makes the next; 0: none (default: auto, 1 to 4)",
     [](launch::Options& o, std::string_view text) { o.writers = parse_count_or_auto(text, 64, 0); }},
    {running, "run-record", Takes::value, "FILE", "write the run's record (OUT/run.json) to FILE as well",
     [](launch::Options& o, std::string_view text) { o.run_record = parse_path(text); }},
    {running, "collective-timeout", Takes::value, "S",
     "seconds after which a rank that does not answer ends the run (default: 600 at start, then 120)",
     [](launch::Options& o, std::string_view text) {
       o.collective_timeout_s = parse_real(text, 1, longest_timeout_s);
     }},
    {running, "log-level", Takes::value, "NAME", "quiet, normal or verbose (default: normal)",
     [](launch::Options& o, std::string_view text) { o.log_level = parse_word(text, log_level_words); }},

    {running, "progress", Takes::value, "NAME",
     "bar (one line, redrawn), lines (one every 10 s) or off; auto: a bar on a terminal, also the one that "
     "mpirun was started from, else lines; off with --log-level quiet (default: auto)",
     [](launch::Options& o, std::string_view text) { o.progress = parse_word(text, progress_words); }},

    {general, "help", Takes::nothing, "", "print this and exit"},
    {general, "version", Takes::nothing, "", "print the versions of the program and its libraries, and exit"},
};

constexpr NotBuilt not_built[] = {
    {"precision", "fast"},
    {"blocks-on-host", ""},
};

}  // namespace

std::span<const OptionEntry> option_table() { return table; }

std::span<const NotBuilt> not_built_table() { return not_built; }

}  // namespace wan::apps
