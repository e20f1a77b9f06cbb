#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "wan/request.h"

namespace wan::engine {

/// Calls `visit` for the requests that are likely to follow `now`, soonest first, until it returns false.
using UpcomingRequests =
    std::function<void(const Request& now, const std::function<bool(const Request&)>& visit)>;

/// The requests to come, so that the text encoder can serve several of them each time that its weights are
/// read.
struct LookAhead {
  UpcomingRequests upcoming = {};  ///< asked on the rank that leads a group; may be empty
  int groups = 1;                  ///< groups that share the requests: this group makes about one in so many
};

/// The number of distinct texts to encode beyond those of the present request. One loading of the weights
/// should serve 64 texts that this group makes. Nobody knows yet which group will make which request, so it
/// is 64 for each group. Another 64 replace requests that fail or that other groups take.
std::size_t texts_ahead(int groups);

/// A request's texts, cleaned: the prompt and, with guidance, the negative prompt. Throws ItemError if
/// nothing is left of one.
std::vector<std::string> cleaned_texts(const Request& request);

/// The distinct cleaned texts of the requests to come, soonest first, up to `most`. Leaves out requests whose
/// texts cannot be used; such a request fails when its turn comes.
std::vector<std::string> texts_to_come(const UpcomingRequests& upcoming, const Request& now,
                                       std::size_t most);

/// Sends the texts of rank `root` to every rank. Collective.
std::vector<std::string> broadcast_texts(comm::Communicator& group, int root,
                                         const std::vector<std::string>& texts);

}  // namespace wan::engine
