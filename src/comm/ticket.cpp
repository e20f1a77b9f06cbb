#include <cstdio>
#include <exception>

#include "comm/communicator.h"

namespace wan::comm {

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  if (this != &other) {
    drop();
    pending_ = std::move(other.pending_);
  }
  return *this;
}

Ticket::~Ticket() { drop(); }

void Ticket::wait() {
  // Moved out first. If the wait throws, the destructor then has nothing to complain about.
  const std::unique_ptr<Pending> pending = std::move(pending_);
  if (pending) pending->wait();
}

void Ticket::wait_without_limit(const std::function<void()>& meanwhile) {
  const std::unique_ptr<Pending> pending = std::move(pending_);
  if (pending) pending->wait_without_limit(meanwhile);
}

void Ticket::drop() noexcept {
  if (!pending_) return;
  if (std::uncaught_exceptions() == 0) {
    std::fprintf(stderr, "internal error: the ticket of %s was destroyed without wait()\n",
                 pending_->describe().c_str());
    std::terminate();
  }
  pending_.reset();
}

}  // namespace wan::comm
