#include "batch/energy_meter.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace wan::batch {
namespace {

constexpr double least_sampled_s = 1;  // several sample periods

}  // namespace

void EnergyMeter::begin_at(double time_s) {
  if (!begin_s_) begin_s_ = time_s;
}

void EnergyMeter::on_phase(const PhaseEvent& event) {
  begin_at(event.start_s);
  next_.on_phase(event);
}

void EnergyMeter::on_step(const StepEvent& event) {
  begin_at(event.start_s);
  next_.on_step(event);
}

void EnergyMeter::on_samples(std::span<const DeviceSample> samples) {
  for (const DeviceSample& sample : samples) {
    if (!begin_s_ || sample.time_s <= *begin_s_) continue;
    double& measured_to_s = measured_to_.try_emplace(sample.rank, *begin_s_).first->second;
    energy_j_ += sample.power_w * std::max(sample.time_s - measured_to_s, 0.0);
    measured_to_s = std::max(sample.time_s, measured_to_s);
  }
  next_.on_samples(samples);
}

void EnergyMeter::end(int ranks, double wall_s) {
  const bool is_complete = std::ssize(measured_to_) >= ranks || wall_s < least_sampled_s;
  if (!is_complete) energy_j_ = std::numeric_limits<double>::quiet_NaN();
}

}  // namespace wan::batch
