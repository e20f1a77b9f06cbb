#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"
#include "wan/error.h"

namespace wan::launch {

/// An error that every rank of the job has been told of: rank 0 prints it, all leave with its exit code.
class AgreedError : public Error {
 public:
  AgreedError(const std::string& message, ExitCode code) : Error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// Runs `work`, which holds no collectives, on every rank of the job. If it throws on any of them, every rank
/// throws an AgreedError with the message of the lowest such rank. Collective.
void agree(comm::Communicator& world, const std::function<void()>& work);

/// Runs `work` on rank 0 and gives its text to every rank; its exception becomes everybody's AgreedError.
/// Collective.
std::string on_rank_0(comm::Communicator& world, const std::function<std::string()>& work);

}  // namespace wan::launch
