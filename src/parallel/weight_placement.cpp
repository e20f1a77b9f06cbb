#include "parallel/weight_placement.h"

namespace wan::parallel {
namespace {

Division leaner_division(const NetworkPlacement& now, const NetworkPlacement& leanest) {
  return leanest.is_sharded() ? Division::sharded : now.division;
}

}  // namespace

Residence text_encoder_residence(bool on_gpu, bool wants_host) {
  if (!on_gpu) return Residence::resident;
  return wants_host ? Residence::computes_on_host : Residence::read_when_needed;
}

WeightPlacement for_group(WeightPlacement placement, int ranks) {
  if (ranks == 1) {
    placement.transformers.division = Division::whole;
    placement.text_encoder.division = Division::whole;
  }
  return placement;
}

WeightPlacement leaner_placement(const WeightPlacement& now, const WeightPlacement& leanest) {
  WeightPlacement leaner = now;
  leaner.transformers.division = leaner_division(now.transformers, leanest.transformers);
  leaner.text_encoder.division = leaner_division(now.text_encoder, leanest.text_encoder);
  if (leaner == now && leanest.transformers.waits_on_host() && !now.transformers.takes_turns())
    leaner.transformers.residence = Residence::waits_on_host;
  return leaner;
}

std::string describe_residence(const NetworkPlacement& placement, int experts) {
  if (placement.takes_turns()) return "one expert at a time";
  if (!placement.waits_on_host()) return {};
  return experts == 1 ? "on the host except for the steps" : "one expert on the host";
}

std::string describe_copies(const NetworkPlacement& placement, int experts) {
  if (!placement.waits_on_host()) return {};
  return experts == 1
             ? "the transformer comes in from the host block by block, in the first step of each item"
             : "each expert comes in from the host block by block, from the last step of the other one on";
}

std::string describe_transformers(const NetworkPlacement& placement, int experts) {
  const std::string residence = describe_residence(placement, experts);
  if (residence.empty()) return placement.is_sharded() ? "sharded" : "whole";
  return placement.is_sharded() ? "sharded, " + residence : residence;
}

std::string describe_step(const WeightPlacement& before, const WeightPlacement& after) {
  if (before == after) return {};
  const bool is_division = before.transformers.division != after.transformers.division ||
                           before.text_encoder.division != after.text_encoder.division;
  return is_division ? "weights split over the group's ranks" : "the expert not in use kept in host memory";
}

}  // namespace wan::parallel
