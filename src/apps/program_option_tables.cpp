// The options of wan_bench and wan_doctor, of which some are wan_batch's.
#include <algorithm>
#include <array>

#include "apps/option_table.h"
#include "core/parse_value.h"

namespace wan::apps {
namespace {

using namespace option_group;

constexpr int most_bench_steps = 10000;

constexpr OptionEntry bench_entries[] = {
    {measured, "model", Takes::value, "NAME|FILE",
     "i2v-A14B, t2v-A14B, t2v-1.3B, t2v-14B, i2v-14B, ti2v-5B, or a config.json; text encoder and VAE are "
     "scaled as its transformer is (default: i2v-A14B)",
     [](launch::Options& o, std::string_view text) { o.bench.model = parse_path(text).string(); }},
    {measured, "size", Takes::value, "W*H", "pixels of the video, exactly (default: 832*480)",
     [](launch::Options& o, std::string_view text) { o.bench.size = parse_size(text); }},
    {measured, "frame-num", Takes::value, "N", "frames, 4n+1 (default: 81)",
     [](launch::Options& o, std::string_view text) { o.bench.frame_num = parse_frame_num(text); }},
    {measured, "sample-guide-scale", Takes::value, "N",
     "guidance of all steps, 0 to 100; 1 for none: a step makes one pass, which all ranks share (default: "
     "3.5)",
     [](launch::Options& o, std::string_view text) { o.bench.guide_scale = parse_real(text, 0, 100); }},
    {measured, "steps", Takes::value, "N", "denoising steps that count (default: 3)",
     [](launch::Options& o, std::string_view text) {
       o.bench.steps = static_cast<int>(parse_integer(text, 1, most_bench_steps));
     }},
    {measured, "warmup", Takes::value, "N", "steps before those (default: 1)",
     [](launch::Options& o, std::string_view text) {
       o.bench.warmup = static_cast<int>(parse_integer(text, 0, most_bench_steps));
     }},
    {measured, "part-times", Takes::optional, "on|off",
     "measure the seconds of each part of a step; off shows how much these events cost (default: on)",
     [](launch::Options& o, std::string_view text) { o.bench.part_times = parse_switch(text); }},
    {measured, "trace-cost", Takes::nothing, "",
     "with --trace: leave every second step out of the trace, and report what a step in it costs more",
     [](launch::Options& o, std::string_view text) { o.bench.trace_cost = parse_switch(text); }},
    {measured, "measure-products", Takes::nothing, "",
     "in place of all else: time the GPU's kernels for the model's matrix products for about three minutes, "
     "and keep the best of each, which later runs take (WAN_PRODUCT_CACHE, else "
     "~/.cache/wan_batch/products)",
     [](launch::Options& o, std::string_view text) { o.bench.measure_products = parse_switch(text); }},
    {measured, "kernels", Takes::nothing, "",
     "after the measurements, record the GPU's kernels in one more step, encoding and decoding, and print a "
     "table of their names, calls, times and shares",
     [](launch::Options& o, std::string_view text) { o.bench.kernels = parse_switch(text); }},
    {measured, "trace", Takes::value, "FILE", "HDF5 trace (default: none)",
     [](launch::Options& o, std::string_view text) { o.trace = parse_path(text); }},
};

constexpr OptionEntry doctor_entries[] = {
    {output, "json", Takes::nothing, "", "print one JSON object instead of a table",
     [](launch::Options& o, std::string_view text) { o.doctor_json = parse_switch(text); }},
    {output, "accept", Takes::nothing, "",
     "in place of the checks, run the engine on random weights for about a minute, on all GPUs of the job, "
     "and "
     "compare its times with the plan's",
     [](launch::Options& o, std::string_view text) { o.doctor_accept = parse_switch(text); }},
};

}  // namespace

std::vector<OptionEntry> bench_option_table() {
  constexpr std::array<std::string_view, 5> shared{"config", "collective-timeout", "log-level", "help",
                                                   "version"};
  constexpr std::string_view not_of_use = "convert-model-dtype";
  std::vector<OptionEntry> entries(std::begin(bench_entries), std::end(bench_entries));
  for (const OptionEntry& entry : option_table()) {
    const bool is_shared = std::ranges::find(shared, entry.name) != shared.end();
    if (is_shared || (entry.group == machine && entry.name != not_of_use)) entries.push_back(entry);
  }
  return entries;
}

std::vector<OptionEntry> doctor_option_table() {
  constexpr std::array<std::string_view, 4> shared{"config", "output-dir", "help", "version"};
  std::vector<OptionEntry> entries;
  const auto names_part = [](const OptionEntry& entry) {  // of a checkpoint
    constexpr std::array<std::string_view, 8> parts{"ckpt-dir",        "model",    "high-noise-model",
                                                    "low-noise-model", "vae",      "text-encoder",
                                                    "image-encoder",   "tokenizer"};
    return std::ranges::find(parts, entry.name) != parts.end();
  };
  for (const OptionEntry& entry : option_table()) {
    if (!names_part(entry) && std::ranges::find(shared, entry.name) == shared.end()) continue;
    entries.push_back(entry);
    if (entry.name == "output-dir") {
      entries.back().help = "output folder of a run, to be tried (default: outputs)";
      entries.insert(entries.end(), std::begin(doctor_entries), std::end(doctor_entries));
    }
  }
  return entries;
}

}  // namespace wan::apps
