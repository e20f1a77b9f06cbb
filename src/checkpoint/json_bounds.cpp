#include "checkpoint/json_bounds.h"

#include <set>
#include <string>
#include <vector>

#include "checkpoint/tensor_file.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

using nlohmann::json;

/// Reads a text without storing it, and throws where it exceeds the bounds. The library's parser with a
/// callback would also work, but it searches the enclosing list at the end of each object.
class BoundsCheck : public nlohmann::json_sax<json> {
 public:
  explicit BoundsCheck(const JsonBounds& bounds) : bounds_(bounds) {}

  bool null() override { return count(); }
  bool boolean(bool /*value*/) override { return count(); }
  bool number_integer(number_integer_t /*value*/) override { return count(); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return count(); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return count(); }
  bool string(string_t& /*value*/) override { return count(); }
  bool binary(binary_t& /*value*/) override { return count(); }

  bool start_object(std::size_t /*elements*/) override {
    if (bounds_.unique_keys) keys_.emplace_back();
    return open();
  }
  bool key(string_t& name) override {
    if (bounds_.unique_keys && !keys_.back().insert(name).second)
      fail("the key {} occurs twice in one object", in_quotes(name));
    return true;
  }
  bool end_object() override {
    if (bounds_.unique_keys) keys_.pop_back();
    return close();
  }
  bool start_array(std::size_t /*elements*/) override { return open(); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t /*byte*/, const std::string& /*token*/,
                   const json::exception& error) override {
    // The library's message begins with the exception's name in brackets.
    std::string_view message = error.what();
    if (const auto end = message.find("] "); message.starts_with('[') && end != std::string_view::npos)
      message.remove_prefix(end + 2);
    constexpr std::string_view opening = "parse error at ";
    if (message.starts_with(opening)) message.remove_prefix(opening.size());
    fail("not valid JSON: {}", in_quotes(message));
  }

 private:
  bool count() {
    if (++values_ > bounds_.values) fail("has more than {} values", bounds_.values);
    return true;
  }
  bool open() {
    if (++depth_ > bounds_.depth) fail("nested more than {} deep", bounds_.depth);
    return count();
  }
  bool close() {
    --depth_;
    return true;
  }

  const JsonBounds& bounds_;
  int depth_ = 0;
  std::size_t values_ = 0;
  std::vector<std::set<std::string>> keys_;  // keys of the objects that are open
};

}  // namespace

json parse_bounded_json(std::string_view text, const JsonBounds& bounds) {
  BoundsCheck check(bounds);
  json::sax_parse(text.begin(), text.end(), &check);
  return json::parse(text.begin(), text.end());
}

}  // namespace wan::checkpoint
