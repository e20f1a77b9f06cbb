#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/expert_sets.h"
#include "engine/model_parts.h"
#include "parallel/weight_shards.h"

namespace wan::engine {

/// The weights that may come into one memory, and which of them are there: an expert with each set of LoRAs,
/// or several experts that take turns.
class ExpertTurns {
 public:
  /// An expert, and how its weights are read. `sets`: null if there is one set of LoRAs at most, which
  /// `model` reads.
  struct Entry {
    ExpertModel model;
    std::shared_ptr<const ExpertSets> sets = {};
  };
  /// Nothing is in memory yet. The files behind the experts must outlive this object.
  explicit ExpertTurns(std::vector<Entry> entries) : entries_(std::move(entries)) {}

  /// Tells that the memory was filled with the first expert and this set, which changes these units.
  void note_loaded(int set, std::vector<bool> changed);

  bool serves(Expert which) const;
  /// Whether the memory holds an expert, with any set. False after a reading that failed.
  bool holds(Expert which) const { return held_ && held_->expert == which; }
  /// Whether it holds the weights that the expert has with this set.
  bool holds(Expert which, int set) const;
  /// Brings the expert's weights with the set into `shards`, which this rank reads alone: units that neither
  /// the set nor the one before it changes stay. On a GPU nothing may be computing with them. Returns the
  /// bytes written. Throws Error, c10::OutOfMemoryError; then nothing is held.
  std::int64_t read(Expert which, int set, parallel::WeightShards& shards);
  /// How often read() was called.
  int readings() const { return readings_; }

 private:
  struct Held {
    Expert expert;
    int set;
    std::vector<bool> changed;  ///< by unit: whether the set changed it
  };
  const Entry& entry_of(Expert which) const;

  std::vector<Entry> entries_;
  std::optional<Held> held_;
  int readings_ = 0;
};

}  // namespace wan::engine
