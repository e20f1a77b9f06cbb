#include "parallel/agree.h"

#include <array>
#include <optional>
#include <string>

#include "comm/first_message.h"
#include "core/check.h"
#include "parallel/host_memory.h"
#include "wan/storage_error.h"

namespace wan::parallel {
namespace {

// The kind of error, as the first letter of the transmitted text.
constexpr char item_mark = 'i';
constexpr char memory_mark = 'm';
constexpr char storage_mark = 's';

/// Kind, stage and message in one text for transmission.
std::string encode(const ItemError& error) {
  char mark = item_mark;
  if (dynamic_cast<const MemoryError*>(&error) != nullptr) mark = memory_mark;
  if (dynamic_cast<const StorageError*>(&error) != nullptr) mark = storage_mark;
  return mark + error.stage() + '\n' + error.what();
}

[[noreturn]] void throw_decoded(const std::string& text) {
  const std::size_t end_of_stage = text.find('\n');
  const std::string stage = text.substr(1, end_of_stage - 1);
  const std::string message = text.substr(end_of_stage + 1);
  if (text.front() == memory_mark) throw MemoryError(stage, message);
  if (text.front() == storage_mark) throw StorageError(message);
  throw ItemError(stage, message);
}

}  // namespace

void agree(comm::Communicator& group, const std::function<void()>& work) {
  std::optional<std::string> own;
  try {
    work();
  } catch (const ItemError& error) {
    own = encode(error);
  }
  if (const auto said = comm::first_message(group, own)) throw_decoded(said->text);
}

void agree(comm::Communicator& group, const std::exception_ptr& kept) {
  agree(group, [&kept] {
    if (kept) std::rethrow_exception(kept);
  });
}

void agree_on_root(comm::Communicator& group, int root, const char* stage,
                   const std::function<void()>& work) {
  std::string own;
  if (group.rank() == root) {
    try {
      with_host_memory(work);
    } catch (const ItemError& error) {
      own = encode(error);
    } catch (const c10::OutOfMemoryError& error) {
      own = encode(MemoryError(stage, describe_shortage(error)));
    }
  }
  std::array<std::int64_t, 1> length{static_cast<std::int64_t>(own.size())};
  comm::Ticket ticket = group.broadcast(std::as_writable_bytes(std::span(length)), root);
  if (group.rank() == root) {
    ticket.wait();
  } else {
    ticket.wait_without_limit();
  }
  if (length[0] == 0) return;
  own.resize(static_cast<std::size_t>(length[0]));
  group.broadcast(std::as_writable_bytes(std::span(own)), root).wait();
  throw_decoded(own);
}

}  // namespace wan::parallel
