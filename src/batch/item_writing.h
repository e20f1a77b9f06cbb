#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "batch/item_in_hand.h"
#include "batch/item_publisher.h"
#include "batch/writer_pool.h"
#include "wan/engine.h"

namespace wan::batch {

/// An item whose last step is done, as it left its group.
struct MadeItem {
  RequestReport report;
  std::int64_t steps_gained = 0;  ///< denoising steps made and kept, in the outputs or in a saved state
  std::unique_ptr<UnwrittenOutputs> outputs = {};  ///< null: the engine has written them
  bool is_saved = false;                           ///< the state after the last step has been published
};

/// The result of an item's writing.
struct WritingEnd {
  ItemOutcome outcome;               ///< open: the item is left to a later run
  std::string storage_problem = {};  ///< why nothing can be written any more; empty if all is well
  double seconds = 0;                ///< since the item left its group
};

/// The way of an item from its group to its record: saves the state after the last step, writes the outputs,
/// and publishes them. Its claim is released at the end.
class ItemWriting final : public WriterJob {
 public:
  /// Must outlive the job.
  struct Tools {
    const RunContext& context;
    const ItemPublisher& publisher;
    const std::string& token;  ///< of the leader's temporary files
  };
  using Settled = std::function<void(const WritingEnd& end)>;
  ItemWriting(ItemInHand item, MadeItem made, Tools tools, Settled on_settled);

  void run(const std::function<bool()>& is_given_up) noexcept override;
  void settle() override { on_settled_(end_); }

 private:
  void write(const std::function<bool()>& is_given_up);
  bool write_outputs(const std::function<bool()>& is_given_up);
  void save_state();
  void clear_hidden_files() noexcept;
  void leave_open() noexcept;
  void fail_with(const ItemError& error) noexcept;

  std::optional<ItemInHand> item_;  ///< until the writing has ended
  MadeItem made_;
  Tools tools_;
  Settled on_settled_;
  Stopwatch since_made_;
  WritingEnd end_;
};

}  // namespace wan::batch
