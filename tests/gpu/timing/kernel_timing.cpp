// Times every kernel at full size on the first GPU and prints one table: the rate of each beside the
// datasheet's and beside what a copy and a large product reach in the same minute.
//
//   kernel_timing [tokens ...]           (default: 32760 75600, 480p and 720p) the transformer's kernels
//   kernel_timing --attention [tokens ...]   attention only, all fast backends in turn
//   kernel_timing --rows [tokens ...]    only what the memory bounds: norms, residuals, rotary turns
//   kernel_timing --products [tokens ...]    only the matrix products
//   kernel_timing --split [tokens ...]   only what GPUs that share a sequence lose: the heads of one of two,
//                                        four and eight GPUs at once and in chunks, matrix products of all
//                                        rows and of half of them
//   kernel_timing --vae                  the layers of the Wan 2.1 autoencoder at 480p, as one chunk of
//                                        latent frames has them
//   kernel_timing --merge                LoRAs that the GPU adds to weights
//
// Random data; three calls to warm up, then the median of fifteen, each between two CUDA events.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "core/check.h"
#include "gpu/timing/table.h"

namespace wan::timing {
namespace {

using Timing = void (*)(std::int64_t tokens);

/// By option: what is timed for each number of tokens.
const std::map<std::string, std::vector<Timing>>& timings() {
  static const std::map<std::string, std::vector<Timing>> table{
      {"", {time_norms, time_pack, time_products, time_attentions}},
      {"--rows", {time_norms, time_pack}},
      {"--products", {time_products}},
      {"--attention", {time_attentions}},
      {"--split", {time_chunked_attention, time_halved_products}}};
  return table;
}

int run(std::vector<std::string> arguments) {
  if (c10::cuda::device_count() == 0) {
    fmt::print("kernel_timing: no GPU on this machine\n");
    return EXIT_FAILURE;
  }
  const c10::InferenceMode no_gradients;
  std::string option;
  if (!arguments.empty() && arguments.front().starts_with("--")) {
    option = arguments.front();
    arguments.erase(arguments.begin());
  }
  const bool has_tokens = timings().contains(option);
  if (!has_tokens && option != "--vae" && option != "--merge")
    fail<UsageError>("there is no option '{}'; the first lines of kernel_timing.cpp list them", option);
  begin_table();
  if (option == "--vae") time_autoencoder();
  if (option == "--merge") time_low_rank();
  if (!has_tokens) return EXIT_SUCCESS;
  std::vector<std::int64_t> sizes;
  std::ranges::transform(arguments, std::back_inserter(sizes),
                         [](const std::string& argument) { return std::stoll(argument); });
  if (sizes.empty()) sizes = {32760, 75600};
  for (const std::int64_t tokens : sizes) {
    for (const Timing time : timings().at(option)) time(tokens);
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace wan::timing

int main(int argc, char** argv) {
  try {
    return wan::timing::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    static_cast<void>(std::fprintf(stderr, "kernel_timing: %s\n", error.what()));
    return EXIT_FAILURE;
  }
}
