#pragma once

#include <string>

namespace wan::test {

/// The message of the Error that `call` throws, "no error" if none.
template <typename Expected, typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Expected& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace wan::test
