#pragma once

#include <span>

#include "apps/account_notes.h"
#include "apps/trace_facts.h"
#include "launch/engine_host.h"
#include "launch/options.h"
#include "launch/run_device.h"

namespace wan::apps {

/// The account of all ranks of a run, on every rank. `ledger`: of a leader; null on the other ranks.
/// `reports`: of the ranks of the group. `wall_s`: of this rank. Collective over `world`, which has all
/// ranks.
display::RunAccount add_up_account(comm::Communicator& world, const display::AccountLedger* ledger,
                                   std::span<const RankReport> reports, double wall_s);

/// The settings of a run as the notes need them. `plan`: as it was made; `writers`: threads of a group that
/// write videos.
AccountFacts account_facts(const launch::Options& options, const launch::RunPlan& plan,
                           const launch::RunDevice& device, int writers);

}  // namespace wan::apps
