#include "apps/run_description.h"

#include <fmt/format.h>

#include <filesystem>

#include "apps/run_identity.h"

namespace wan::apps {

std::vector<std::string> command_again(const launch::Options& options, const launch::RunLayout& layout,
                                       const kernels::Compute& compute) {
  std::vector<std::string> words;
  if (layout.guided.group_size > 1) words = {"mpirun", "-np", std::to_string(layout.guided.group_size)};
  words.insert(words.end(),
               {"wan_batch", "--ckpt-dir", std::filesystem::absolute(options.ckpt_dir).string()});
  const auto add = [&words](const char* option, const auto& value) {
    words.insert(words.end(), {option, fmt::format("{}", value)});
  };
  if (options.device == launch::Device::cpu) add("--device", "cpu");
  // All that decides the bytes, beside the request and the GPU itself.
  add("--precision", model_identity({}, compute).precision);
  add("--attention", kernels::to_string(options.attention));
  if (options.t5_cpu) words.emplace_back("--t5-cpu");
  if (options.cfg_size) add("--cfg-size", *options.cfg_size);
  if (options.ulysses_size) add("--ulysses-size", *options.ulysses_size);
  if (options.save_latents) words.emplace_back("--save-latents");
  return words;
}

std::string headline(const launch::Options& options, const launch::RunInput& input,
                     const launch::RunLayout& layout, int ranks, const std::string& device) {
  const int groups = ranks / layout.guided.group_size;
  const std::string shard = options.shard ? fmt::format(" (shard {}/{} of {})", options.shard->index,
                                                        options.shard->count, input.whole_rows)
                                          : "";
  return fmt::format("{}: {} item{}{}, {} rank{} in {} group{}, {}{}{} on {}", input.checkpoint.task.name,
                     input.rows.size(), input.rows.size() == 1 ? "" : "s", shard, ranks,
                     ranks == 1 ? "" : "s", groups, groups == 1 ? "" : "s", parallel::describe(layout.guided),
                     layout.placement.transformers.is_sharded() ? ", weights sharded" : "",
                     layout.placement.transformers.waits_on_host() ? ", one expert on the host" : "", device);
}

}  // namespace wan::apps
