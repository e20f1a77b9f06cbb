#pragma once

#include <map>
#include <optional>

#include "wan/engine.h"

namespace wan::batch {

/// Adds up the energy that a team's GPUs take while it works, from the power samples that its leader hears.
/// Samples from before the work began do not count: the GPUs did something else then. The meter misses the
/// last fraction of a sample's period.
class EnergyMeter final : public Observer {
 public:
  /// Passes all events on to `next` and adds to `energy_j`, which becomes NaN if a GPU's power is unknown.
  /// Both must outlive the meter.
  EnergyMeter(Observer& next, double& energy_j) : next_(next), energy_j_(energy_j) {}

  void on_phase(const PhaseEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_rank_phases(std::span<const PhaseEvent> events) override { next_.on_rank_phases(events); }
  void on_stretch(const StretchEvent& stretch) override { next_.on_stretch(stretch); }
  void on_samples(std::span<const DeviceSample> samples) override;

  /// Call it after work of `wall_s` seconds on `ranks` GPUs. If a GPU was never sampled, as without a
  /// management library, the energy becomes unknown. Work that is too short for samples is exempt.
  void end(int ranks, double wall_s);

 private:
  void begin_at(double time_s);

  Observer& next_;
  double& energy_j_;
  std::optional<double> begin_s_;  ///< time of the work's first event, which comes before its first samples
  std::map<int, double> measured_to_;  ///< seconds, by rank
};

}  // namespace wan::batch
