#include "text/bounded_text.h"

#include "core/check.h"

namespace wan::text {

void append_bounded(std::string& text, std::string_view more) {
  constexpr std::size_t most_bytes = 8U << 20U;  // a prompt has 64 KiB, and replacements 64 times as much
  if (text.size() > most_bytes || more.size() > most_bytes - text.size()) {
    fail(
        "it makes a text of more than {} bytes of one prompt; copy the file from the official checkpoint "
        "again",
        most_bytes);
  }
  text += more;
}

}  // namespace wan::text
