#include "apps/bench_products.h"

#include <array>
#include <vector>

#include "core/check.h"
#include "core/environment.h"
#include "engine/model_description.h"
#include "kernels/product_measurement.h"
#include "launch/agreement.h"
#include "launch/run_device.h"

namespace wan::apps {
namespace {

/// Rows of a rank. 480p has 32,760 tokens, which one to eight ranks share; 720p has 75,600, of which four and
/// eight ranks' parts are here. With more rows, the choice for 32,760 is as good as any.
constexpr std::array<std::int64_t, 6> measured_rows{32760, 18900, 16380, 9450, 8190, 4095};

/// The products that each block of each step makes (model.md 5.5).
std::vector<kernels::ProductShape> shapes_of(const checkpoint::TransformerConfig& model,
                                             c10::ScalarType type) {
  using kernels::ProductEnd;
  return {{.type = type, .out = 3 * model.dim, .in = model.dim, .end = ProductEnd::bias},
          {.type = type, .out = model.dim, .in = model.dim, .end = ProductEnd::bias},
          {.type = type, .out = model.ffn_dim, .in = model.dim, .end = ProductEnd::gelu},
          {.type = type, .out = model.dim, .in = model.ffn_dim, .end = ProductEnd::bias}};
}

}  // namespace

std::string measure_products(comm::Communicator& world, const comm::MpiRanks& ranks,
                             const launch::Options& options) {
  const launch::RunDevice device = launch::choose_device(world, ranks, options);
  std::string report;
  launch::agree(world, [&] {
    if (world.size() > 1) fail<UsageError>("--measure-products measures one GPU: start one rank");
    const kernels::ProductState state = kernels::product_state(device.compute.device);
    if (!state.has_kernels) {
      fail<UsageError>("--measure-products needs a Hopper GPU; on {}, LibTorch chooses the kernels",
                       device.name());
    }
    if (device.compute.type == at::kFloat) {
      fail<UsageError>("--measure-products measures kernels for bf16 and fp16: leave --precision fp32 out");
    }
    const std::filesystem::path file = product_choices_file(state.machine, read_environment());
    if (file.empty()) fail<UsageError>("--measure-products has no place for the result: set HOME");
    keep_product_choices(file, state.machine,
                         {});  // a file that cannot be written shows before the measurement
    std::vector<kernels::MeasuredProduct> products;
    kernels::ProductChoices choices;
    for (const kernels::ProductShape& shape :
         shapes_of(engine::describe_named_model(options.bench.model).transformer, device.compute.type)) {
      products.push_back(kernels::measure_product(shape, measured_rows, device.compute.device));
      choices.emplace(shape, choices_of(products.back()));
    }
    keep_product_choices(file, state.machine, choices);
    report = fmt::format("{}, {} multiprocessors, cuBLASLt {}\n{}kept in {}\n", state.machine.gpu,
                         state.machine.multiprocessors, state.machine.cublas_lt,
                         kernels::product_table(products), file.string());
  });
  return report;
}

}  // namespace wan::apps
