#pragma once

#include "batch/item_writing.h"
#include "batch/observer.h"
#include "batch/stop_control.h"
#include "batch/writer_pool.h"
#include "store/claims.h"

namespace wan::batch {

struct GroupCounts;

/// Writes the items that a group has made, while the group makes the next ones. For the main thread of the
/// group's leader.
class ItemWriters {
 public:
  /// All must outlive the writers.
  struct Tools {
    const store::Claims& claims;
    StopControl& stop;
    ItemObserver& observer;
    const ItemPublisher& publisher;
    GroupCounts& counts;
  };
  ItemWriters(const RunContext& context, Tools tools);

  /// Whether items are written while the group makes others.
  bool are_in_background() const { return context_.writers > 0; }
  /// Items that have left the group and are neither done nor failed as far as this run has told.
  int unsettled() const { return pool_.unsettled(); }

  /// Takes an item that the group has made. Without threads, it is written and settled when this returns.
  void take(ItemInHand item, MadeItem made);
  /// Counts the items whose writing has ended, and tells the observer of them. Call it often.
  void settle();
  /// Waits until the frames of another item may be made: no more items are in writing than there are threads.
  /// Returns early if the run has to stop.
  void await_room();
  /// Waits until all items are written. If the run has to be left before, their writing is given up: their
  /// steps are saved, and a later run writes them.
  void await_all();

 private:
  void end(const WritingEnd& end, double decode_s);

  const RunContext& context_;
  Tools tools_;
  WriterPool pool_;
};

}  // namespace wan::batch
