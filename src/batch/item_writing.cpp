#include "batch/item_writing.h"

#include <chrono>
#include <new>
#include <utility>

#include "batch/state_saver.h"
#include "core/check.h"
#include "core/log.h"
#include "wan/storage_error.h"

namespace wan::batch {

ItemWriting::ItemWriting(ItemInHand item, MadeItem made, Tools tools, Settled on_settled)
    : item_(std::move(item)), made_(std::move(made)), tools_(tools), on_settled_(std::move(on_settled)) {
  end_.outcome.id = item_->row.id;
  end_.outcome.of_this_run = true;
}

void ItemWriting::run(const std::function<bool()>& is_given_up) noexcept {
  try {
    write(is_given_up);
  } catch (const StorageError& error) {
    end_.storage_problem = error.what();
    leave_open();
  } catch (const MemoryError& error) {
    fail_with(error);
  } catch (const ItemError& error) {
    fail_with(manifest::with_place(error, item_->row, tools_.context.origin.manifest));
  } catch (const std::bad_alloc&) {
    fail_with(MemoryError("memory", "the host refused memory; use a smaller size or fewer frames"));
  } catch (const std::exception& error) {
    fail_with(ItemError("write", error.what()));
  }
  made_.outputs.reset();
  item_.reset();
  end_.seconds = since_made_.elapsed_s();
}

void ItemWriting::write(const std::function<bool()>& is_given_up) {
  if (made_.outputs && !write_outputs(is_given_up)) {
    leave_open();
    return;
  }
  std::vector<BackgroundPhase> background = std::move(end_.outcome.background);
  const auto begin = std::chrono::steady_clock::now();
  end_.outcome = tools_.publisher.publish(*item_, made_.report);
  if (tools_.context.writers > 0) {
    background.push_back({.phase = "publish", .begin = begin, .end = std::chrono::steady_clock::now()});
    end_.outcome.background = std::move(background);
  }
}

/// Returns false if the item was given up.
bool ItemWriting::write_outputs(const std::function<bool()>& is_given_up) {
  save_state();
  if (is_given_up()) return false;
  const auto begin = std::chrono::steady_clock::now();
  const Stopwatch watch;
  if (!made_.outputs->write(is_given_up)) return false;
  made_.outputs.reset();  // the next item needs the memory
  item_->cost.phase_s["write"] += watch.elapsed_s();
  end_.outcome.background.push_back(
      {.phase = "write", .begin = begin, .end = std::chrono::steady_clock::now()});
  return true;
}

/// From now on nobody needs to make a step again, whatever becomes of the writing.
void ItemWriting::save_state() {
  if (made_.is_saved || made_.report.end == RunEnd::drafted) return;  // the engine has saved a draft's
  const int steps_done = made_.report.steps_done;
  try {
    made_.outputs->write_state();
    StateSaver(tools_.context).publish(*item_, steps_done, tools_.token);
  } catch (const StorageError&) {
    throw;
  } catch (const Error& error) {
    tools_.context.log->warn("{}: the state after {} steps could not be saved: {}", item_->row.id, steps_done,
                             error.what());
  }
}

void ItemWriting::clear_hidden_files() noexcept {
  try {
    clear_away(tools_.context.folder, item_->row.id, tools_.token);
  } catch (const std::exception& error) {
    tools_.context.log->warn("{}", error.what());
  }
}

/// A later run goes on with the item.
void ItemWriting::leave_open() noexcept {
  clear_hidden_files();
  end_.outcome.status = ItemStatus::open;
}

void ItemWriting::fail_with(const ItemError& error) noexcept {
  clear_hidden_files();
  try {
    end_.outcome = tools_.publisher.record_failure(*item_, error);
  } catch (const std::exception& problem) {
    end_.storage_problem = problem.what();
    end_.outcome.status = ItemStatus::open;
  }
}

}  // namespace wan::batch
