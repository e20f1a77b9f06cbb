#include "parallel/agree.h"

#include <optional>
#include <string>

#include "comm/first_message.h"
#include "wan/error.h"

namespace wan::parallel {
namespace {

/// Stage and message as one text for the wire.
std::string encode(const ItemError& error) { return error.stage() + '\n' + error.what(); }

void share(comm::Communicator& group, const std::optional<std::string>& own) {
  const auto said = comm::first_message(group, own);
  if (!said) return;
  const std::size_t end_of_stage = said->text.find('\n');
  throw ItemError(said->text.substr(0, end_of_stage), said->text.substr(end_of_stage + 1));
}

}  // namespace

void agree(comm::Communicator& group, const std::function<void()>& work) {
  std::optional<std::string> own;
  try {
    work();
  } catch (const ItemError& error) {
    own = encode(error);
  }
  share(group, own);
}

void agree(comm::Communicator& group, const std::exception_ptr& kept) {
  agree(group, [&kept] {
    if (kept) std::rethrow_exception(kept);
  });
}

}  // namespace wan::parallel
