#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/batch_record.h"
#include "store/status_files.h"

namespace wan::store {

/// The items that the manifests of a folder list, each id once, and the work of each.
class ListedItems {
 public:
  explicit ListedItems(const std::vector<BatchRecord>& records);

  bool contains(const std::string& id) const { return items_.contains(id); }
  const std::map<std::string, ItemWork>& items() const { return items_; }
  /// Rows of manifests whose records name no ids. Earlier versions wrote such records.
  std::int64_t nameless_rows() const { return nameless_rows_; }
  /// Whether there are no other items, apart from single requests.
  bool is_complete() const { return !items_.empty() && nameless_rows_ == 0; }

 private:
  std::map<std::string, ItemWork> items_;
  std::int64_t nameless_rows_ = 0;
};

/// How long items take in relation to each other, learned from those that are done.
class ItemWeights {
 public:
  ItemWeights(const ListedItems& listed, const std::map<std::string, FinishedItem>& done);

  /// The item's share of the work; 1 for all items if the work of each is unknown.
  double of(const std::string& id) const;
  /// The part of that share that its denoising steps take.
  double of_steps(const std::string& id) const;

 private:
  const ListedItems& listed_;
  ItemWork s_per_unit_{.steps = 1, .rest = 0};
};

/// Weight per second of the time that was worked in [from_s, to_s]. Breaks between runs do not count. An item
/// counts where it ends.
double rate_in(const std::map<std::string, FinishedItem>& done, const ItemWeights& weights, double from_s,
               double to_s);

/// Weight per second, judged by the steps of the living workers. The work before and after the steps is not
/// in it.
double rate_of_steps(const std::vector<WorkerStatus>& workers, const ItemWeights& weights);

}  // namespace wan::store
