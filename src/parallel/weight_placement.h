#pragma once

#include <array>
#include <string>

namespace wan::parallel {

/// How a network's weights are divided over the ranks of a group.
enum class Division {
  whole,    ///< every rank keeps all of them
  sharded,  ///< each rank keeps a part and gathers the rest unit by unit: FSDP (model.md 8.1)
};

/// Where a network's weights lie. Block streaming is to become one more value.
enum class Residence {
  resident,          ///< all the time in the memory of the device that computes
  waits_on_host,     ///< in page-locked host memory; copied to the GPU as a whole for the network's turn
  read_when_needed,  ///< in the checkpoint's files; read for each use and let go of after it
  computes_on_host,  ///< in host memory beside a GPU; the network computes there, in fp32
};

/// Where the weights of one network, or of several networks that take turns, lie.
struct NetworkPlacement {
  Division division = Division::whole;
  Residence residence = Residence::resident;

  bool is_sharded() const { return division == Division::sharded; }
  bool waits_on_host() const { return residence == Residence::waits_on_host; }
  bool operator==(const NetworkPlacement&) const = default;
};

/// Where all weights of a group lie, alike on all its ranks. The autoencoder's are few: whole and resident.
struct WeightPlacement {
  NetworkPlacement transformers;  ///< resident or waiting: the one whose turn it is lies on the GPU
  NetworkPlacement text_encoder;  ///< anything but waiting

  bool operator==(const WeightPlacement&) const = default;
};

/// The placements of transformers that a plan weighs, from the fastest to the one that takes the least memory
/// of the device.
inline constexpr std::array<NetworkPlacement, 4> transformer_placements{
    {{Division::whole, Residence::resident},
     {Division::sharded, Residence::resident},
     {Division::whole, Residence::waits_on_host},
     {Division::sharded, Residence::waits_on_host}}};

/// The placement with the least memory of the device: how far leaner_placement() goes unless it is bounded.
inline constexpr WeightPlacement leanest_placement{
    .transformers = {Division::sharded, Residence::waits_on_host},
    .text_encoder = {Division::sharded, Residence::read_when_needed}};

/// Where the text encoder lies. Its weights come to a GPU for the texts only, unless `wants_host`; a run on
/// the CPU keeps them all the time.
Residence text_encoder_residence(bool on_gpu, bool wants_host);

/// `placement` for a group of so many ranks: a rank alone has nobody to divide weights with.
WeightPlacement for_group(WeightPlacement placement, int ranks);

/// The next step from `now` to one that takes less memory of the device, no further than `leanest`: first all
/// divisions at once, then the transformers' residence. `now` if no step is left.
WeightPlacement leaner_placement(const WeightPlacement& now, const WeightPlacement& leanest);

/// The transformers' weights, for a table: "whole", "sharded", "sharded, one expert on the host".
std::string describe_transformers(const NetworkPlacement& placement);

/// A step that leaner_placement() took, for the user: "weights split over the group's ranks"; empty if the
/// placements are equal.
std::string describe_step(const WeightPlacement& before, const WeightPlacement& after);

}  // namespace wan::parallel
