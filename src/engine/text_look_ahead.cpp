#include "engine/text_look_ahead.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <span>

#include "engine/prompt_encoder.h"
#include "sample/sampler.h"
#include "wan/error.h"

namespace wan::engine {
namespace {

constexpr std::size_t texts_of_one_loading = 64;

}  // namespace

std::size_t texts_ahead(int groups) {
  return texts_of_one_loading * (static_cast<std::size_t>(std::max(groups, 1)) + 1);
}

std::vector<std::string> cleaned_texts(const Request& request) {
  std::vector<std::string> texts{PromptEncoder::cleaned_prompt(request.prompt)};
  if (sample::is_guided(request.guide_scale))
    texts.push_back(PromptEncoder::cleaned_negative_prompt(request.negative_prompt));
  return texts;
}

std::vector<std::string> texts_to_come(const UpcomingRequests& upcoming, const Request& now,
                                       std::size_t most) {
  std::vector<std::string> texts;
  if (!upcoming) return texts;
  std::set<std::string> seen;
  const auto visit = [&](const Request& request) {
    try {
      for (std::string& text : cleaned_texts(request))
        if (texts.size() < most && seen.insert(text).second) texts.push_back(std::move(text));
    } catch (const ItemError&) {  // the item itself will say so
    }
    return texts.size() < most;
  };
  try {
    upcoming(now, visit);
  } catch (const std::exception&) {  // a file system's, for one: what was found until then is as good
  }
  return texts;
}

std::vector<std::string> broadcast_texts(comm::Communicator& group, int root,
                                         const std::vector<std::string>& texts) {
  // One after the other, each behind its length.
  std::string all;
  for (const std::string& text : texts) {
    const std::uint64_t bytes = text.size();
    all.append(reinterpret_cast<const char*>(&bytes), sizeof bytes).append(text);
  }
  std::array<std::int64_t, 1> length{static_cast<std::int64_t>(all.size())};
  group.broadcast(std::as_writable_bytes(std::span(length)), root).wait();
  if (length[0] == 0) return {};
  all.resize(static_cast<std::size_t>(length[0]));
  group.broadcast(std::as_writable_bytes(std::span(all)), root).wait();
  std::vector<std::string> received;
  for (std::size_t first = 0; first < all.size();) {
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, all.data() + first, sizeof bytes);
    received.push_back(all.substr(first + sizeof bytes, bytes));
    first += sizeof bytes + bytes;
  }
  return received;
}

}  // namespace wan::engine
