#include "batch/runner.h"

#include "batch/item_deaths.h"
#include "batch/leader.h"
#include "batch/stop_note.h"
#include "core/check.h"

namespace wan::batch {
namespace {

GroupCounts lead(Engine& engine, comm::Communicator& group, std::span<const manifest::ManifestRow> rows,
                 const RunContext& context, ItemObserver& observer, TeamLetters& teams,
                 const std::vector<GroupMember>& members) {
  GroupOrders orders(group);
  try {
    Leader leader(engine, orders, rows, context, observer, teams);
    const StopNote note(context, leader.claims(), members);
    GroupCounts counts = leader.run();
    orders.send({.action = Order::Action::stop});
    engine.finish(observer);
    return counts;
  } catch (...) {
    // Nobody may be left waiting for an order. Ranks that are inside the engine wait in its collectives,
    // which the communicators' timeout ends.
    if (orders.do_others_wait()) orders.send({.action = Order::Action::abort});
    throw;
  }
}

void follow(Engine& engine, comm::Communicator& group, std::span<const manifest::ManifestRow> rows,
            const RunContext& context, ItemObserver& observer, TeamLetters& teams) {
  // A signal may come to this rank alone. And if its group has no item, only the leader reads letters.
  const auto pass_on_stop = [&] {
    if (context.stop.is_requested && context.stop.is_requested()) teams.announce_stop();
  };
  while (true) {
    Order order;
    await_order(group, order, pass_on_stop);
    if (order.action == Order::Action::stop) {
      engine.finish(observer);
      return;
    }
    if (order.action == Order::Action::abort) fail("rank 0 of the group gave up; its message says why");
    if (order.action == Order::Action::make_leaner) {
      engine.make_leaner();
      continue;
    }
    try {
      take_part(engine, order, rows, context, observer);
    } catch (const std::exception& error) {
      note_end_of_run(rows[static_cast<std::size_t>(order.row)], order.token_text(), error.what(), context,
                      engine.task());
      throw;
    }
  }
}

}  // namespace

RunEnd take_part(Engine& engine, const Order& order, std::span<const manifest::ManifestRow> rows,
                 const RunContext& context, ItemObserver& observer) {
  WAN_CHECK(order.row >= 0 && order.row < std::ssize(rows), "row {} of {}", order.row, rows.size());
  const manifest::ManifestRow& row = rows[static_cast<std::size_t>(order.row)];
  Request request = manifest::resolve(row, context.requests.command_line, engine.task().defaults,
                                      context.requests.settings);
  request.seed = order.seed;
  FollowerControl control(context);
  try {
    OutputPaths outputs =
        context.folder.temporary_outputs(row.id, order.token_text(), context.results.save_latents);
    outputs.draft = context.results.draft;
    outputs.step_latents = context.results.step_latents;
    outputs.first_expert_only = order.first_expert_only != 0;
    return engine.run(request, outputs, observer, control, order.team()).end;
  } catch (const ItemError&) {
    return RunEnd::finished;  // every rank throws it; the leader records it
  }
}

GroupCounts run_group(Engine& engine, comm::Communicator& group, std::span<const manifest::ManifestRow> rows,
                      const RunContext& context, ItemObserver& observer, TeamLetters& teams) {
  const std::vector<GroupMember> members = exchange_members(group);
  if (group.rank() == 0) return lead(engine, group, rows, context, observer, teams, members);
  follow(engine, group, rows, context, observer, teams);
  const bool is_signalled = context.stop.is_requested && context.stop.is_requested();
  return {.stop_cause = is_signalled ? StopCause::signal : StopCause::none};
}

}  // namespace wan::batch
