#pragma once

#include "batch/item_in_hand.h"
#include "store/earlier.h"

namespace wan::batch {

/// Puts the result of an item into the output folder, under its final names. For the leader of the group that
/// made it, and for any of its threads: each item is published by one.
class ItemPublisher {
 public:
  /// All must outlive this. `token` names the leader's temporary files.
  ItemPublisher(const RunContext& context, const std::string& token)
      : context_(context),
        token_(token),
        states_(context.folder.states()),
        deaths_(context.folder.states()) {}

  /// Publishes the video, the latents and, last, the sidecar, which makes the item done; or the preview of an
  /// item whose state is saved. Throws ItemError (stage "write") or StorageError.
  ItemOutcome publish(const ItemInHand& item, const RequestReport& report) const;
  /// Writes the failure record, unless somebody else's file lies under its name. Throws Error if it cannot be
  /// written.
  ItemOutcome record_failure(const ItemInHand& item, const ItemError& error) const;

 private:
  std::optional<store::MadeAgain> make_room(const ItemInHand& item, const store::NewOutputs& outputs) const;
  store::Sidecar sidecar_of(const ItemInHand& item, const RequestReport& report) const;
  ItemOutcome publish_draft(const ItemInHand& item, const RequestReport& report) const;
  static ItemOutcome outcome_of(const ItemInHand& item, const RequestReport& report, ItemStatus status);
  void publish_sidecar(const ItemInHand& item, const store::Sidecar& sidecar) const;

  const RunContext& context_;
  const std::string& token_;
  store::SavedStates states_;
  ItemDeaths deaths_;
};

}  // namespace wan::batch
