#include "apps/agreement.h"

#include <array>
#include <optional>
#include <span>

#include "comm/first_message.h"
#include "core/check.h"

namespace wan::apps {

void agree(comm::Communicator& world, const std::function<void()>& work) {
  std::optional<std::string> own;  // exit code as one character, then the message
  const auto keep = [&own](ExitCode code, const std::exception& error) {
    own = std::string(1, static_cast<char>(code)) + error.what();
  };
  try {
    work();
  } catch (const UsageError& error) {
    keep(ExitCode::usage, error);
  } catch (const std::exception& error) {
    keep(ExitCode::failure, error);
  }
  const auto said = comm::first_message(world, own);
  if (!said) return;
  const std::string where = said->rank == 0 ? "" : fmt::format(" (rank {})", said->rank);
  throw AgreedError(said->text.substr(1) + where, static_cast<ExitCode>(said->text.front()));
}

std::string on_rank_0(comm::Communicator& world, const std::function<std::string()>& work) {
  std::string text;
  agree(world, [&] {
    if (world.rank() == 0) text = work();
  });
  std::array<std::int64_t, 1> length{static_cast<std::int64_t>(text.size())};
  world.broadcast(std::as_writable_bytes(std::span(length)), 0).wait();
  text.resize(static_cast<std::size_t>(length[0]));
  world.broadcast(std::as_writable_bytes(std::span(text)), 0).wait();
  return text;
}

}  // namespace wan::apps
