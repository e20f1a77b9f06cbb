#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "batch/item.h"
#include "store/item_work.h"
#include "wan/engine.h"

namespace wan::batch {

/// An item that begins, and the run's progress.
struct ItemStart {
  const Request& request;
  std::int64_t row = 0;      ///< 0-based
  std::int64_t settled = 0;  ///< rows known to be done or failed, in any run
  std::int64_t rows = 0;
  int last_step = 0;          ///< of a draft; 0: all steps are made
  store::ItemWork work = {};  ///< of this item
  store::WorkLeft left = {};  ///< of the rows not known to be settled, without this one
};

/// The reason for which a group without an item waits.
enum class WaitFor {
  row,           ///< the leader claims and checks the next row
  writer,        ///< as many videos are in writing as may be
  other_groups,  ///< no row is left
  last_writing,  ///< the last videos are being written
};
inline constexpr std::size_t wait_count = 4;

/// Hears an engine's events and the items that they belong to. On the group's leader only.
class ItemObserver : public Observer {
 public:
  virtual void on_item_start(const ItemStart& start) = 0;
  /// The item that was begun last has left its group: a thread writes it. The next items may begin before its
  /// end comes.
  virtual void on_writing(const std::string& /*id*/) {}
  /// The item that was begun last waits for the second expert, while the group makes others. It is begun
  /// again.
  virtual void on_item_waits(const std::string& /*id*/) {}
  virtual void on_item_end(const ItemOutcome& outcome) = 0;
  /// From now on, while the group has no item, it waits for this. At first it waits for a row.
  virtual void on_waiting(WaitFor /*what*/) {}
  /// Why this observer can no longer write, if the storage is at fault; else empty. The run then ends.
  virtual std::string storage_problem() const { return {}; }
};

/// Passes all events on to several observers, in order. Does not own them.
class ObserverList final : public ItemObserver {
 public:
  explicit ObserverList(std::vector<ItemObserver*> observers) : observers_(std::move(observers)) {}
  void on_phase(const PhaseEvent& event) override {
    for (ItemObserver* observer : observers_) observer->on_phase(event);
  }
  void on_step(const StepEvent& event) override {
    for (ItemObserver* observer : observers_) observer->on_step(event);
  }
  void on_rank_phases(std::span<const PhaseEvent> events) override {
    for (ItemObserver* observer : observers_) observer->on_rank_phases(events);
  }
  void on_stretch(const StretchEvent& stretch) override {
    for (ItemObserver* observer : observers_) observer->on_stretch(stretch);
  }
  void on_samples(std::span<const DeviceSample> samples) override {
    for (ItemObserver* observer : observers_) observer->on_samples(samples);
  }
  void on_item_start(const ItemStart& start) override {
    for (ItemObserver* observer : observers_) observer->on_item_start(start);
  }
  void on_writing(const std::string& id) override {
    for (ItemObserver* observer : observers_) observer->on_writing(id);
  }
  void on_item_waits(const std::string& id) override {
    for (ItemObserver* observer : observers_) observer->on_item_waits(id);
  }
  void on_item_end(const ItemOutcome& outcome) override {
    for (ItemObserver* observer : observers_) observer->on_item_end(outcome);
  }
  void on_waiting(WaitFor what) override {
    for (ItemObserver* observer : observers_) observer->on_waiting(what);
  }
  std::string storage_problem() const override {
    for (const ItemObserver* observer : observers_) {
      if (std::string problem = observer->storage_problem(); !problem.empty()) return problem;
    }
    return {};
  }

 private:
  std::vector<ItemObserver*> observers_;
};

}  // namespace wan::batch
