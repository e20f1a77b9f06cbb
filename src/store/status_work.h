#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/batch_record.h"
#include "store/status_files.h"

namespace wan::store {

/// The items that the manifests of a folder list, each id once, and what each asks for.
class ListedItems {
 public:
  explicit ListedItems(const std::vector<BatchRecord>& records);

  bool contains(const std::string& id) const { return items_.contains(id); }
  const std::map<std::string, ItemWork>& items() const { return items_; }
  /// Rows of manifests whose records name no ids, as earlier versions wrote them.
  std::int64_t nameless_rows() const { return nameless_rows_; }
  /// Whether the items are all that there is to do, apart from single requests.
  bool is_complete() const { return !items_.empty() && nameless_rows_ == 0; }

 private:
  std::map<std::string, ItemWork> items_;
  std::int64_t nameless_rows_ = 0;
};

/// How long items take beside each other, learned from those that are done.
class ItemWeights {
 public:
  ItemWeights(const ListedItems& listed, const std::map<std::string, FinishedItem>& done);

  /// The item's share of the work; 1 for all items where it is not known what each asks for.
  double of(const std::string& id) const;
  /// Its denoising steps' part in that.
  double of_steps(const std::string& id) const;

 private:
  const ListedItems& listed_;
  ItemWork s_per_unit_{.steps = 1, .rest = 0};
};

/// Weight per second of the time that was worked in [from_s, to_s]: breaks between runs do not count. Items
/// count where they end.
double rate_in(const std::map<std::string, FinishedItem>& done, const ItemWeights& weights, double from_s,
               double to_s);

/// Weight per second that the living workers' steps lead to; what comes before and after the steps is not in
/// it.
double rate_of_steps(const std::vector<WorkerStatus>& workers, const ItemWeights& weights);

}  // namespace wan::store
