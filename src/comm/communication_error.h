#pragma once

#include "wan/error.h"

namespace wan::comm {

/// A library could not pass a message on to another rank or from it. Often the other rank has died, so that
/// this error is not the cause.
class CommunicationError : public Error {
 public:
  using Error::Error;
};

}  // namespace wan::comm
