#include "checkpoint/pickle_machine.h"

#include <array>

namespace wan::checkpoint {
namespace {

constexpr std::size_t max_values = 1 << 20;
constexpr std::uint32_t max_memo_index = 1 << 20;
constexpr std::size_t max_line_bytes = 256;

}  // namespace

std::string_view kind_name(Kind kind) {
  constexpr std::array<std::string_view, 9> names{
      "None",         "a boolean",    "an integer",          "a text",  "a tuple",
      "a dictionary", "a class name", "a storage reference", "a tensor"};
  return names.at(static_cast<std::size_t>(kind));
}

std::uint8_t PickleMachine::take_opcode() {
  opcode_byte_ = at_;
  return take<std::uint8_t>();
}

std::string_view PickleMachine::take_bytes(std::size_t size) {
  if (size > pickle_.size() - at_) {
    error("the pickle ends after {} bytes, {} more are needed; the file is damaged", pickle_.size(),
          size - (pickle_.size() - at_));
  }
  const std::string_view bytes = pickle_.substr(at_, size);
  at_ += size;
  return bytes;
}

std::string_view PickleMachine::take_line() {
  const std::string_view rest = pickle_.substr(at_, max_line_bytes);
  const std::size_t size = rest.find('\n');
  if (size == std::string_view::npos) error("a class name does not end within {} bytes", max_line_bytes);
  at_ += size + 1;
  return rest.substr(0, size);
}

/// Little-endian two's complement of any length. No valid size has more than 64 bits.
std::int64_t PickleMachine::take_long() {
  const std::size_t size = take<std::uint8_t>();
  if (size > 8) error("an integer of {} bytes", size);
  const std::string_view bytes = take_bytes(size);
  std::uint64_t value = size > 0 && (static_cast<unsigned char>(bytes.back()) & 0x80U) != 0 ? ~0ULL : 0ULL;
  for (std::size_t i = size; i-- > 0;) value = (value << 8) | static_cast<unsigned char>(bytes[i]);
  return static_cast<std::int64_t>(value);
}

ValueId PickleMachine::push(Value value) {
  if (values_.size() == max_values)
    error("more than {} values; no state dictionary needs so many", max_values);
  values_.push_back(std::move(value));
  const auto id = static_cast<ValueId>(values_.size() - 1);
  stack_.push_back(id);
  return id;
}

void PickleMachine::push_existing(ValueId id) {
  // One-byte opcodes push values, too. So the stack has the same bound as the values.
  if (stack_.size() == max_values) error("the stack is deeper than {}", max_values);
  stack_.push_back(id);
}

ValueId PickleMachine::top() const {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) error("the stack is empty");
  return stack_.back();
}

ValueId PickleMachine::pop() {
  const ValueId id = top();
  stack_.pop_back();
  return id;
}

void PickleMachine::mark() {
  if (marks_.size() == max_values) error("more than {} marks", max_values);
  marks_.push_back(stack_.size());
}

std::vector<ValueId> PickleMachine::pop_to_mark() {
  if (marks_.empty()) error("there is no mark on the stack");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<ValueId> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

const Value& PickleMachine::expect(ValueId id, Kind kind, std::string_view what) const {
  const Value& value = values_[id];
  if (value.kind != kind) error("{} is {}; expected {}", what, kind_name(value.kind), kind_name(kind));
  return value;
}

std::int64_t PickleMachine::expect_count(ValueId id, std::string_view what) const {
  const std::int64_t value = expect(id, Kind::integer, what).integer;
  if (value < 0) error("{} is {}; it cannot be negative", what, value);
  return value;
}

void PickleMachine::memorize(std::uint32_t index) {
  if (index > max_memo_index) error("memo index {} is above {}", index, max_memo_index);
  const ValueId id = top();
  if (index >= memo_.size()) memo_.resize(index + 1);
  memo_[index] = id;
}

void PickleMachine::recall(std::uint32_t index) {
  if (index >= memo_.size() || !memo_[index]) error("memo index {} was never set", index);
  push_existing(*memo_[index]);
}

ValueId PickleMachine::result() const {
  if (at_ != pickle_.size()) error("{} bytes follow the end", pickle_.size() - at_);
  if (stack_.size() != 1 || !marks_.empty()) error("{} values are left over at the end", stack_.size());
  return stack_.back();
}

}  // namespace wan::checkpoint
