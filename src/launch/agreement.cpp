#include "launch/agreement.h"

#include <array>
#include <exception>
#include <filesystem>
#include <optional>
#include <span>

#include "comm/first_message.h"
#include "core/check.h"
#include "core/printable.h"
#include "launch/option_names.h"

namespace wan::launch {

namespace {

bool is_wrong_path(const std::error_code& code) {
  for (const std::errc wrong :
       {std::errc::filename_too_long, std::errc::permission_denied, std::errc::not_a_directory,
        std::errc::too_many_symbolic_link_levels, std::errc::no_such_file_or_directory}) {
    if (code == wrong) return true;
  }
  return false;
}

}  // namespace

void agree(comm::Communicator& world, const std::function<void()>& work) {
  std::optional<std::string> own;  // exit code as one character, then the message
  const auto keep = [&own](ExitCode code, const std::string& message) {
    own = std::string(1, static_cast<char>(code)) + message;
  };
  try {
    work();
  } catch (const UsageError& error) {
    keep(ExitCode::usage, with_option(error));
  } catch (const std::filesystem::filesystem_error& error) {
    // Its own text is for programmers.
    keep(is_wrong_path(error.code()) ? ExitCode::usage : ExitCode::failure,
         fmt::format("cannot use {}: {}", printable(error.path1().string(), 200), error.code().message()));
  } catch (const std::exception& error) {
    keep(ExitCode::failure, error.what());
  }
  const auto said = comm::first_message(world, own);
  if (!said) return;
  const std::string where = said->rank == 0 ? "" : fmt::format(" (rank {})", said->rank);
  throw AgreedError(printable_lines(said->text.substr(1)) + where, static_cast<ExitCode>(said->text.front()));
}

std::string on_rank_0(comm::Communicator& world, const std::function<std::string()>& work) {
  std::string text;
  std::exception_ptr error;
  if (world.rank() == 0) {
    try {
      text = work();
    } catch (...) {
      error = std::current_exception();
    }
  }
  // Reading files may take any time, and looking at all images of a manifest does.
  comm::Ticket ticket = world.barrier();
  if (world.rank() == 0) {
    ticket.wait();
  } else {
    ticket.wait_without_limit();
  }
  agree(world, [&] {
    if (error) std::rethrow_exception(error);
  });
  std::array<std::int64_t, 1> length{static_cast<std::int64_t>(text.size())};
  world.broadcast(std::as_writable_bytes(std::span(length)), 0).wait();
  text.resize(static_cast<std::size_t>(length[0]));
  world.broadcast(std::as_writable_bytes(std::span(text)), 0).wait();
  return text;
}

}  // namespace wan::launch
