#pragma once

#include <array>
#include <string>

namespace wan::parallel {

/// How a network's weights are divided over the ranks of a group.
enum class Division {
  whole,    ///< every rank keeps all of them
  sharded,  ///< each rank keeps a part and gathers the rest unit by unit: FSDP (model.md 8.1)
};

/// The memory in which a network's weights lie. Block streaming will become one more value.
enum class Residence {
  resident,          ///< always in the memory of the device that computes
  waits_on_host,     ///< in page-locked host memory; copied to the GPU for the network's turn, unit by unit
  takes_turns,       ///< one network in the memory of the device; the next one is read in its place
  read_when_needed,  ///< in the checkpoint's files; read for each use and freed after it
  computes_on_host,  ///< in host memory beside a GPU; the network computes there, in fp32
};

/// The placement of the weights of one network, or of several networks that take turns.
struct NetworkPlacement {
  Division division = Division::whole;
  Residence residence = Residence::resident;

  bool is_sharded() const { return division == Division::sharded; }
  bool waits_on_host() const { return residence == Residence::waits_on_host; }
  bool takes_turns() const { return residence == Residence::takes_turns; }
  bool operator==(const NetworkPlacement&) const = default;
};

/// The placement of all weights of a group, the same on all its ranks. The autoencoder has few weights: they
/// are whole and resident.
struct WeightPlacement {
  NetworkPlacement transformers;  ///< resident, waiting or in turns
  NetworkPlacement text_encoder;  ///< every value except waiting and in turns

  bool operator==(const WeightPlacement&) const = default;
};

/// The placements of transformers that a plan compares, from the fastest to the slowest.
inline constexpr std::array<NetworkPlacement, 6> transformer_placements{
    {{Division::whole, Residence::resident},
     {Division::sharded, Residence::resident},
     {Division::whole, Residence::waits_on_host},
     {Division::sharded, Residence::waits_on_host},
     {Division::whole, Residence::takes_turns},
     {Division::sharded, Residence::takes_turns}}};

/// The placement with the least memory of the device. leaner_placement() stops at it unless it gets another
/// bound.
inline constexpr WeightPlacement leanest_placement{
    .transformers = {Division::sharded, Residence::waits_on_host},
    .text_encoder = {Division::sharded, Residence::read_when_needed}};

/// The text encoder's placement. On a GPU its weights are there only while it encodes texts, unless
/// `wants_host`. A run on the CPU always keeps them.
Residence text_encoder_residence(bool on_gpu, bool wants_host);

/// `placement` for a group of this many ranks. A single rank has no others to divide weights with.
WeightPlacement for_group(WeightPlacement placement, int ranks);

/// The next step from `now` to a placement with less memory of the device, not beyond `leanest`. The first
/// step changes all divisions at once; later steps change the transformers' residence. Returns `now` if no
/// step is left.
WeightPlacement leaner_placement(const WeightPlacement& now, const WeightPlacement& leanest);

/// Text about the place of the transformers' weights beside the GPU: "one expert on the host", "one expert at
/// a time"; for a model of one expert "on the host except for the steps". Empty if they are resident.
std::string describe_residence(const NetworkPlacement& placement, int experts = 2);

/// Text for the log: how weights that wait on the host come to the GPU. Empty if none do.
std::string describe_copies(const NetworkPlacement& placement, int experts = 2);

/// Text about the transformers' weights, for a table: "whole", "sharded", "sharded, one expert on the host".
std::string describe_transformers(const NetworkPlacement& placement, int experts = 2);

/// Text for the user about a step of leaner_placement(): "weights split over the group's ranks". Empty if the
/// placements are equal.
std::string describe_step(const WeightPlacement& before, const WeightPlacement& after);

}  // namespace wan::parallel
