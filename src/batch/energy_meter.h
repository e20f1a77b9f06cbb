#pragma once

#include <map>
#include <optional>

#include "wan/engine.h"

namespace wan::batch {

/// Adds up the energy that a team's GPUs take while it works, from the samples of their power that its leader
/// hears. What was sampled before the work began, when the GPUs did something else, does not count; the last
/// fraction of a sample's period is not seen.
class EnergyMeter final : public Observer {
 public:
  /// Passes all on to `next` and adds to `energy_j`, which becomes NaN if a GPU's power is unknown. Both must
  /// outlive the meter.
  EnergyMeter(Observer& next, double& energy_j) : next_(next), energy_j_(energy_j) {}

  void on_phase(const PhaseEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_samples(std::span<const DeviceSample> samples) override;

  /// After work of `wall_s` seconds on `ranks` GPUs: the energy is unknown if one of them was never sampled,
  /// as where there is no management library. Of work too short for samples nothing is asked.
  void end(int ranks, double wall_s);

 private:
  void begin_at(double time_s);

  Observer& next_;
  double& energy_j_;
  std::optional<double> begin_s_;      ///< of the work: its first event comes before its first samples
  std::map<int, double> measured_to_;  ///< seconds, by rank
};

}  // namespace wan::batch
