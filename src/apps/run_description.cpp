#include "apps/run_description.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "apps/run_identity.h"

namespace wan::apps {

std::vector<std::string> command_again(const launch::Options& options, const launch::RunLayout& layout,
                                       const kernels::Compute& compute) {
  std::vector<std::string> words;
  if (layout.guided.group_size > 1) words = {"mpirun", "-np", std::to_string(layout.guided.group_size)};
  words.emplace_back("wan_batch");
  for (const auto& [option, path] :
       {std::pair{"--ckpt-dir", &options.ckpt_dir}, std::pair{"--model", &options.parts.model},
        std::pair{"--high-noise-model", &options.parts.high_noise_model},
        std::pair{"--low-noise-model", &options.parts.low_noise_model},
        std::pair{"--vae", &options.parts.vae}, std::pair{"--text-encoder", &options.parts.text_encoder},
        std::pair{"--image-encoder", &options.parts.image_encoder},
        std::pair{"--tokenizer", &options.parts.tokenizer}}) {
    if (!path->empty()) words.insert(words.end(), {option, std::filesystem::absolute(*path).string()});
  }
  const auto add = [&words](const char* option, const auto& value) {
    words.insert(words.end(), {option, fmt::format("{}", value)});
  };
  if (options.device == launch::Device::cpu) add("--device", "cpu");
  // Everything that decides the bytes, apart from the request and the GPU itself.
  add("--precision", compute.precision_name());
  if (options.vae_precision != launch::VaePrecision::exact)
    add("--vae-precision", to_string(options.vae_precision));
  add("--attention", kernels::to_string(options.attention));
  if (options.t5_cpu) words.emplace_back("--t5-cpu");
  if (options.cfg_size) add("--cfg-size", *options.cfg_size);
  if (options.ulysses_size) add("--ulysses-size", *options.ulysses_size);
  if (options.save_latents)
    words.emplace_back(options.step_latents ? "--save-latents=steps" : "--save-latents");
  return words;
}

std::vector<std::string> request_options(const Request& request) {
  std::vector<std::string> words;
  const auto add = [&](const char* option, std::string value) {
    words.emplace_back(option);
    words.push_back(std::move(value));
  };
  if (!request.image.empty()) add("--image", std::filesystem::absolute(request.image).string());
  // "=" keeps a text that begins with a dash from being read as an option.
  words.push_back("--prompt=" + request.prompt);
  words.push_back("--negative-prompt=" + request.negative_prompt);
  add("--base-seed", std::to_string(request.seed));
  add("--size", fmt::format("{}*{}", request.size.width, request.size.height));
  add("--frame-num", std::to_string(request.frame_num));
  add("--sample-steps", std::to_string(request.sample_steps));
  add("--sample-shift", fmt::format("{}", request.sample_shift));
  add("--sample-guide-scale",
      fmt::format("{}:{}", request.guide_scale.low_noise, request.guide_scale.high_noise));
  if (request.boundary) add("--boundary", fmt::format("{}", *request.boundary));
  add("--sample-solver", std::string(to_string(request.solver)));
  add("--noise-device", std::string(to_string(request.noise_device)));
  add("--fps", std::to_string(request.fps));
  add("--codec", request.codec);
  add("--crf", std::to_string(request.crf));
  add("--save-file", request.id + ".mp4");
  return words;
}

std::string headline(const launch::Options& options, const launch::RunInput& input,
                     const launch::RunLayout& layout, int ranks, const std::string& device) {
  const int groups = ranks / layout.guided.group_size;
  const std::string residence = parallel::describe_residence(layout.placement.transformers, layout.experts);
  const std::string shard = options.shard ? fmt::format(" (shard {}/{} of {})", options.shard->index,
                                                        options.shard->count, input.whole_rows)
                                          : "";
  const std::string vae = options.vae_precision == launch::VaePrecision::exact
                              ? ""
                              : fmt::format(", VAE in {}", to_string(options.vae_precision));
  return fmt::format("{}: {} item{}{}, {} rank{} in {} group{}, {}{}{}{} on {}", input.checkpoint.task.name,
                     input.rows.size(), input.rows.size() == 1 ? "" : "s", shard, ranks,
                     ranks == 1 ? "" : "s", groups, groups == 1 ? "" : "s", parallel::describe(layout.guided),
                     layout.placement.transformers.is_sharded() ? ", weights sharded" : "",
                     residence.empty() ? "" : ", " + residence, vae, device);
}

std::string description(const launch::Options& options, const launch::RunInput& input,
                        const launch::RunLayout& layout, int ranks, const std::string& device) {
  const std::string copies = parallel::describe_copies(layout.placement.transformers, layout.experts);
  return headline(options, input, layout, ranks, device) + (copies.empty() ? "" : "; " + copies);
}

}  // namespace wan::apps
