#include "batch/item_maker.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "batch/energy_meter.h"
#include "core/check.h"

namespace wan::batch {

MadeItem ItemMaker::make(ItemInHand& item) {
  engine_.validate(item.parameters.request);
  Attempt attempt;
  while (true) {
    try {
      return make_once(item, attempt);
    } catch (const MemoryError& shortage) {
      clear_away(context_.folder, item.row.id, token());
      tools_.writers.await_all();  // they hold memory of the host, too
      if (!change_for_less_memory(item, attempt, shortage)) throw;
      go_back_to_saved(item, context_);
    }
  }
}

/// If a team ran out of memory, its first group goes on alone, as before the others joined. After that, once
/// per item, the group takes a plan that needs less.
bool ItemMaker::change_for_less_memory(const ItemInHand& item, Attempt& attempt,
                                       const MemoryError& shortage) {
  std::string change;
  if (attempt.width > 1) {
    attempt.may_be_joined = false;
    change = "tried again by one group alone";
  } else if (!std::exchange(attempt.is_leaner, true)) {
    orders_.send({.action = Order::Action::make_leaner});
    const std::string leaner_plan = engine_.make_leaner();
    if (leaner_plan.empty()) return false;
    change = fmt::format("tried again with {}, as are all later items", leaner_plan);
  } else {
    return false;
  }
  context_.log->warn("{}: {}; {}", item.row.id, shortage.what(), change);
  return true;
}

Order ItemMaker::first_order(const ItemInHand& item) const {
  Order order{.action = Order::Action::run,
              .row = item.row_index,
              .seed = item.parameters.request.seed,
              .width = 1,
              .leader_group = context_.place.group_index};
  WAN_CHECK(token().size() == order.token.size(), "token of {} digits", token().size());
  std::ranges::copy(token(), order.token.begin());
  order.first_expert_only = item.first_expert_only ? 1 : 0;
  return order;
}

OutputPaths ItemMaker::outputs_of(const ItemInHand& item) const {
  const std::string& id = item.row.id;
  OutputPaths outputs = context_.folder.temporary_outputs(id, token(), context_.results.save_latents);
  outputs.state = store::SavedStates(context_.folder.states()).temporary(id, token());
  if (item.before) outputs.resume_from = item.before->path;
  outputs.draft = context_.results.draft;
  outputs.step_latents = context_.results.step_latents;
  outputs.first_expert_only = item.first_expert_only;
  return outputs;
}

MadeItem ItemMaker::make_once(ItemInHand& item, Attempt& attempt) {
  Order order = first_order(item);
  const OutputPaths outputs = outputs_of(item);
  const double worth_s =
      attempt.may_be_joined ? context_.join_worth_s + lora_s_ : std::numeric_limits<double>::infinity();
  std::optional<int> first_step;
  int steps_kept = 0;
  while (true) {
    attempt.width = static_cast<int>(order.width);
    ItemControl control(
        item, {.claims = tools_.claims, .stop = tools_.stop, .writers = tools_.writers, .log = *context_.log},
        StateSaver(context_), TeamGrowth(engine_, tools_.teams, attempt.width, worth_s),
        outputs.draft.after_step);
    RequestReport report = make_part(item, order, outputs, control);
    if (!first_step) first_step = report.first_step;
    steps_kept =
        std::max(steps_kept, report.end == RunEnd::finished ? report.steps_done : control.steps_saved());
    if (report.end != RunEnd::handed_over) {
      const int saved = std::max(control.steps_saved(), item.before ? item.before->steps_done : 0);
      const bool is_saved = saved == report.steps_done;
      if (report.end == RunEnd::drafted && !is_saved) {
        if (tools_.stop.storage_problem().empty()) throw ItemError("write", control.state_problem());
        report.end = RunEnd::stopped;  // the storage failed, which ends the run
        static_cast<void>(control.take_outputs());
      }
      return {.report = std::move(report),
              .steps_gained = std::max(steps_kept - *first_step, 0),
              .outputs = control.take_outputs(),
              .is_saved = is_saved};
    }
    order.width = control.next_width();
    tools_.teams.invite(order);
    context_.log->detail("{}: {} groups work on it from step {} on", item.row.id, order.width,
                         report.steps_done);
  }
}

RequestReport ItemMaker::make_part(ItemInHand& item, const Order& order, const OutputPaths& outputs,
                                   ItemControl& control) {
  const int ranks = orders_.ranks() * static_cast<int>(order.width);
  item.cost.begin_part(ranks);
  EnergyMeter meter(tools_.observer, item.cost.energy_j);
  const auto end_metering = [&] {
    if (context_.place.on_gpu) meter.end(ranks, item.cost.part_seconds());
  };
  orders_.send(order);
  try {
    RequestReport report = engine_.run(item.parameters.request, outputs, meter, control, order.team());
    orders_.engine_has_returned();
    end_metering();
    item.cost.end_part();
    for (const auto& [phase, seconds] : report.phase_s) item.cost.phase_s[phase] += seconds;
    if (const auto lora = report.phase_s.find("lora"); lora != report.phase_s.end()) lora_s_ = lora->second;
    return report;
  } catch (const ItemError&) {
    orders_.engine_has_returned();  // every rank throws the same
    end_metering();
    throw;
  }
}

}  // namespace wan::batch
