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

/// What lets the text encoder work for several requests each time that its weights come into memory.
struct LookAhead {
  UpcomingRequests upcoming = {};  ///< asked on the rank that leads a group; may be empty
  int groups = 1;  ///< that share the requests out among them: this group makes so many in one
};

/// Distinct texts to look at beyond those in hand: as many as one loading of the weights should at least
/// serve, for each group, as nobody knows yet which group will make what; and as many again, for requests
/// that fail or that others take.
std::size_t texts_ahead(int groups);

/// A request's texts, cleaned: the prompt and, with guidance, the negative prompt. Throws ItemError if
/// nothing is left of one.
std::vector<std::string> cleaned_texts(const Request& request);

/// The distinct cleaned texts of the requests to come, soonest first, up to `most`. Requests whose texts
/// cannot be used are left out: they will say so themselves.
std::vector<std::string> texts_to_come(const UpcomingRequests& upcoming, const Request& now,
                                       std::size_t most);

/// The texts of rank `root` on every rank. Collective.
std::vector<std::string> broadcast_texts(comm::Communicator& group, int root,
                                         const std::vector<std::string>& texts);

}  // namespace wan::engine
