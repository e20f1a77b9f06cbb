#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "store/sidecar.h"

namespace wan::store {

// What makes two results the same: the request with the seed that the user gave, the weights, the precision
// and the lossy options. Everything else that a record tells (GPUs, layout, attention, versions, ...) is
// there to be read and is never compared.

/// A value that a record and a request differ in, both fit for a message.
struct Difference {
  std::string field;  ///< "prompt", "weights", ...
  std::string was;    ///< what the record says, "none" if nothing
  std::string now;
};

/// What keeps a record's parameters from answering `wanted`; empty if they do. A seed that was drawn is
/// nothing that the user asks for: such a request is answered by any seed. An image that cannot be read any
/// more is compared by file name. Throws nothing: what is not a record's parameters differs in "parameters".
std::vector<Difference> differences(const nlohmann::json& recorded, const Parameters& wanted);

/// "weights: 1f2e, now 3d4c; seed: 1, now 2": at most three of them.
std::string describe(const std::vector<Difference>& differences);

/// A short text that stands for a request in its claim: a checksum of all that is compared, and the seed or
/// "-" if that is drawn.
std::string request_mark(const Parameters& parameters);

/// Whether a result of the request that `theirs` stands for will answer the one of `mine`. An empty mark, of
/// a claim by an earlier version, says nothing against it.
bool is_same_request(std::string_view theirs, std::string_view mine);

}  // namespace wan::store
