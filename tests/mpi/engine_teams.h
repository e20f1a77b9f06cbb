#pragma once

#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "mpi/engine_fixture.h"

namespace wan::test {

/// Asks for given actions after given steps.
class ScriptedControl final : public NoControl {
 public:
  explicit ScriptedControl(std::map<int, StepAction> script) : script_(std::move(script)) {}
  StepAction next_action(int steps_done, int /*step_count*/) override {
    const auto found = script_.find(steps_done);
    return found == script_.end() ? StepAction::go_on : found->second;
  }
  void on_state(int steps_done) override { steps_saved = steps_done; }
  void on_state_problem(const std::string& message) override { problem = message; }

  int steps_saved = 0;
  std::string problem;

 private:
  std::map<int, StepAction> script_;
};

inline Made read_outputs(const OutputPaths& outputs) {
  auto tensors = load_tensors(outputs.latents);
  return {.latent = tensors.at("latent"), .frames = tensors.at("frames")};
}

/// Groups that can join, each with an engine.
class Teams {
 public:
  Teams(RankWorld& ranks, const Toy& toy, const comm::GridShape& group, const engine::EngineOptions& options)
      : toy_(toy), engine_(toy.folder, options, ranks.communicators(group, Backend::mpi, toy.heads), clock_) {
    const int groups = ranks.size() / group.group_size;
    for (const int width : comm::team_widths(groups)) {
      const auto first = comm::first_of_team(ranks.rank() / group.group_size, width, groups);
      std::vector<int> members(static_cast<std::size_t>(first ? width * group.group_size : 1));
      std::iota(members.begin(), members.end(), first ? *first * group.group_size : ranks.rank());
      parents_.emplace(width, comm::make_mpi_group(ranks.world(), members, "team", {.timeout_s = 60}));
    }
    engine_.allow_teams([this](int width) { return make_team(width); }, groups);
  }

  engine::WanEngine& engine() { return engine_; }
  RequestReport run(const OutputPaths& outputs, RunControl& control, const Team& team) {
    return engine_.run(toy_.request(), outputs, observer_, control, team);
  }

 private:
  parallel::GroupCommunicators make_team(int width) {
    comm::Communicator& parent = *parents_.at(width);
    const auto shape = parallel::choose_team_shape(parent.size(), toy_.heads);
    return parallel::make_team_communicators(engine_.communicators(), shape->guided, shape->unguided,
                                             parent.rank(),
                                             [&](const std::vector<int>& members, parallel::Role role) {
                                               return comm::make_deferred(comm::make_mpi_group(
                                                   parent, members, to_string(role), {.timeout_s = 60}));
                                             });
  }

  const Toy& toy_;
  const Stopwatch clock_;
  SilentObserver observer_;
  std::map<int, std::unique_ptr<comm::Communicator>> parents_;
  engine::WanEngine engine_;
};

}  // namespace wan::test
