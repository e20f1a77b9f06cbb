#pragma once

#include <gtest/gtest.h>

#include <array>
#include <exception>

#include "comm/deferred.h"
#include "comm/local.h"
#include "comm/mpi/mpi.h"
#include "engine/wan_engine.h"
#include "lora/lora_set.h"
#include "model/model_kind.h"
#include "support/parity_case.h"
#include "support/temp_dir.h"

namespace wan::test {

/// Ignores all events.
class SilentObserver final : public Observer {
 public:
  void on_phase(const PhaseEvent& /*event*/) override {}
  void on_step(const StepEvent& /*event*/) override {}
};

/// Never interferes with a run.
class NoControl : public RunControl {
 public:
  StepAction next_action(int /*steps_done*/, int /*step_count*/) override { return StepAction::go_on; }
  void on_state(int /*steps_done*/) override {}
  void on_state_problem(const std::string& message) override { ADD_FAILURE() << message; }
};

/// Weights of both networks divided over the group, as in a run on the CPU.
inline constexpr parallel::WeightPlacement all_sharded{
    .transformers = {.division = parallel::Division::sharded},
    .text_encoder = {.division = parallel::Division::sharded}};

enum class Backend { mpi, deferred };

/// The ranks of this test program and engines over them.
class RankWorld {
 public:
  RankWorld() : world_(comm::make_mpi_world(mpi_, {.timeout_s = 60})) {}

  int size() const { return mpi_.size(); }
  int rank() const { return mpi_.rank(); }
  comm::Communicator& world() { return *world_; }

  /// Communicators of one group of all ranks.
  parallel::GroupCommunicators communicators(const comm::GridShape& shape, Backend backend,
                                             std::int64_t heads) {
    const comm::GridShape unguided = parallel::unguided_shape(shape, {}, heads);
    return parallel::make_group_communicators(
        shape, unguided, rank(), [&](const std::vector<int>& members, parallel::Role role) {
          auto group = comm::make_mpi_group(*world_, members, to_string(role), {.timeout_s = 60});
          return backend == Backend::deferred ? comm::make_deferred(std::move(group)) : std::move(group);
        });
  }

 private:
  comm::MpiEnvironment mpi_;
  std::unique_ptr<comm::Communicator> world_;
};

/// A scratch folder that all ranks share.
class SharedFolder {
 public:
  /// `ranks`: RankWorld, or ranks with GPUs.
  template <typename Ranks>
  explicit SharedFolder(Ranks& ranks) : world_(ranks.world()) {
    std::array<char, 256> name{};
    if (ranks.rank() == 0) (folder_ / "").string().copy(name.data(), name.size() - 1);
    world_.broadcast(std::as_writable_bytes(std::span(name)), 0).wait();
    path_ = name.data();
  }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  ~SharedFolder() {
    // Other ranks may still read in rank 0's folder. After a failed test their state is unknown.
    if (std::uncaught_exceptions() == 0) world_.barrier().wait();
  }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  comm::Communicator& world_;
  TempDir folder_;
  std::filesystem::path path_;
};

/// A reference case of a few steps.
struct Toy {
  explicit Toy(const char* name, int steps = 5)
      : parity(load_parity_case(name)), folder(checkpoint::inspect_checkpoint(parity.folder / "ckpt")) {
    parity.request.sample_steps = steps;
    heads = engine::open_expert(folder.experts.front().path).config.num_heads;
  }
  const Request& request() const { return parity.request; }

  ParityCase parity;
  checkpoint::CheckpointFolder folder;
  std::int64_t heads = 0;
};

/// Communicators of this rank alone.
inline parallel::GroupCommunicators lone_communicators() {
  return parallel::make_group_communicators({}, {}, 0,
                                            [](const std::vector<int>& /*members*/, parallel::Role role) {
                                              return comm::make_local(to_string(role));
                                            });
}

/// Every split of `ranks` ranks into cfg x ulysses that the heads allow.
inline std::vector<comm::GridShape> shapes_of(int ranks, std::int64_t heads) {
  std::vector<comm::GridShape> shapes;
  for (int cfg = 1; cfg <= 2; ++cfg) {
    if (ranks % cfg == 0 && ranks / cfg <= heads)
      shapes.push_back({.group_size = ranks, .cfg = cfg, .ulysses = ranks / cfg});
  }
  return shapes;
}

/// Latent and frames of a request, as the engine wrote them; empty tensors on ranks that do not lead.
struct Made {
  at::Tensor latent;  ///< [16, frames, height, width]
  at::Tensor frames;  ///< uint8 [frames, height, width, 3]
};

inline Made make(engine::WanEngine& engine, const Request& request) {
  const TempDir folder;
  SilentObserver observer;
  NoControl control;
  engine.run(request, {.video = folder / "video.mp4", .latents = folder / "latent.safetensors"}, observer,
             control, {});
  if (engine.communicators().group->rank() != 0) return {};
  EXPECT_GT(std::filesystem::file_size(folder / "video.mp4"), 0U);
  auto tensors = load_tensors(folder / "latent.safetensors");
  return {.latent = tensors.at("latent"), .frames = tensors.at("frames")};
}

/// Makes a request with an engine in every layout of the ranks, with weights whole and divided, over MPI and
/// over the deferred backend. Heads that no layout divides: all ranks compute the same. `options`: their
/// placement is left out. Calls check(Made) for each on rank 0.
template <typename Check>
void in_every_layout(RankWorld& ranks, const checkpoint::CheckpointFolder& folder, const Request& request,
                     engine::EngineOptions options, const Check& check) {
  const std::int64_t heads = engine::open_expert(folder.experts.front().path).config.num_heads;
  std::vector<comm::GridShape> shapes = shapes_of(ranks.size(), heads);
  if (shapes.empty()) shapes.push_back({.group_size = ranks.size()});
  for (const comm::GridShape& shape : shapes) {
    for (const bool is_sharded : {false, true}) {
      for (const Backend backend : {Backend::mpi, Backend::deferred}) {
        SCOPED_TRACE(parallel::describe(shape) + (is_sharded ? " sharded" : "") +
                     (backend == Backend::deferred ? " deferred" : ""));
        options.placement = is_sharded ? all_sharded : parallel::WeightPlacement();
        const Stopwatch clock;
        engine::WanEngine engine(folder, options, ranks.communicators(shape, backend, heads), clock);
        const Made made = make(engine, request);
        if (ranks.rank() == 0) check(made);
      }
    }
  }
}

/// The LoRAs in the folder "lora" of a case for a model; none if the case has no such folder.
inline lora::LoraSet loras_of(const ParityCase& parity, const char* task) {
  const LoraChoice folder{.path = parity.folder / "lora"};
  if (!std::filesystem::exists(folder.path)) return {};
  std::vector<std::string> notes;
  return lora::resolve_loras(std::span(&folder, 1), model::model_kind(task), notes);
}

/// Makes a request on this rank alone.
inline Made make_alone(const checkpoint::CheckpointFolder& folder, const Request& request) {
  const Stopwatch clock;
  engine::WanEngine engine(folder, {}, lone_communicators(), clock);
  return make(engine, request);
}

}  // namespace wan::test
