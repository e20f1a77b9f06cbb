#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "store/sidecar.h"

namespace wan::store {

// Two results are the same if they share these values: the request with the seed that the user gave, the
// weights, the precision and the lossy options. All other values of a record (GPUs, layout, attention,
// versions, ...) are for the reader and are never compared.

/// A value in which a record and a request differ. Both texts fit into a message.
struct Difference {
  std::string field;  ///< "prompt", "weights", ...
  std::string was;    ///< the record's value, "none" if it has none
  std::string now;
};

/// The differences that keep a record's parameters from answering `wanted`; empty if they answer it. The user
/// does not ask for a drawn seed, so any seed answers such a request. An image that can no longer be read is
/// compared by file name. Throws nothing: values that are no parameters differ in "parameters".
std::vector<Difference> differences(const nlohmann::json& recorded, const Parameters& wanted);

/// "weights: 1f2e, now 3d4c; seed: 1, now 2": at most three of them.
std::string describe(const std::vector<Difference>& differences);

/// A short text that stands for a request in its claim: a checksum of all compared values, and the seed, or
/// "-" if the seed is drawn.
std::string request_mark(const Parameters& parameters);

/// Whether a result of the request that `theirs` stands for will answer the request of `mine`. An empty mark,
/// which a claim of an earlier version has, answers every request.
bool is_same_request(std::string_view theirs, std::string_view mine);

}  // namespace wan::store
