#include "parallel/agree.h"

#include <array>
#include <string>
#include <vector>

#include "wan/error.h"

namespace wan::parallel {
namespace {

/// Stage and message as one text for the wire.
std::string encode(const ItemError& error) { return error.stage() + '\n' + error.what(); }

[[noreturn]] void rethrow(const std::string& text) {
  const std::size_t end_of_stage = text.find('\n');
  throw ItemError(text.substr(0, end_of_stage), text.substr(end_of_stage + 1));
}

void share(comm::Communicator& group, const std::string& own) {
  // The lowest failing rank speaks: ranks are counted down so that the maximum finds it.
  std::array<std::int64_t, 1> speaker{own.empty() ? -1 : group.size() - 1 - group.rank()};
  group.all_reduce(speaker, comm::ReduceOp::max).wait();
  if (speaker[0] < 0) return;
  const int root = group.size() - 1 - static_cast<int>(speaker[0]);
  std::array<std::int64_t, 1> length{static_cast<std::int64_t>(own.size())};
  group.broadcast(std::as_writable_bytes(std::span(length)), root).wait();
  std::string text = group.rank() == root ? own : std::string(static_cast<std::size_t>(length[0]), '\0');
  group.broadcast(std::as_writable_bytes(std::span(text)), root).wait();
  rethrow(text);
}

}  // namespace

void agree(comm::Communicator& group, const std::exception_ptr& kept) {
  std::string own;
  if (kept) {
    try {
      std::rethrow_exception(kept);
    } catch (const ItemError& error) {
      own = encode(error);
    }
  }
  share(group, own);
}

void agree(comm::Communicator& group, const std::function<void()>& work) {
  std::string own;
  try {
    work();
  } catch (const ItemError& error) {
    own = encode(error);
  }
  share(group, own);
}

}  // namespace wan::parallel
