#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/dtype.h"
#include "core/check.h"

namespace wan::checkpoint {

/// Values refer to each other by index. A pickle may link them in cycles or nest them deeply, and neither may
/// cost memory or stack here.
using ValueId = std::uint32_t;

enum class Kind { none, boolean, integer, text, tuple, dictionary, global, storage, tensor };

struct Value {
  Kind kind = Kind::none;
  /// boolean, integer; for a storage: element count; for a tensor: index into the tensors
  std::int64_t integer = 0;
  std::string text = {};            ///< text; for a global: "module name"; for a storage: key
  std::vector<ValueId> items = {};  ///< tuple; for a dictionary: key, value, key, value ...
  DType dtype = DType::f32;         ///< for a storage
};

std::string_view kind_name(Kind kind);  ///< "a tuple"

/// The state of a pickle machine for protocol 2: the stream, a stack of values, marks in it, and a memo of
/// numbered values. Values below the latest mark are accessible only to the opcode of that mark. All
/// functions throw UsageError with the byte of the opcode at fault.
class PickleMachine {
 public:
  /// Keeps references to both arguments.
  PickleMachine(std::string_view pickle, const std::string& where) : pickle_(pickle), where_(where) {}

  template <typename... Args>
  [[noreturn]] void error(fmt::format_string<Args...> format, Args&&... args) const {
    fail<UsageError>("{}: data.pkl byte {}: {}", where_, opcode_byte_,
                     fmt::format(format, std::forward<Args>(args)...));
  }

  std::uint8_t take_opcode();
  std::string_view take_bytes(std::size_t size);
  template <typename T>
  T take() {
    T value;
    const std::string_view bytes = take_bytes(sizeof(T));
    std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  std::string_view take_line();
  std::int64_t take_long();

  ValueId push(Value value);
  void push_existing(ValueId id);
  ValueId top() const;
  ValueId pop();
  void mark();
  std::vector<ValueId> pop_to_mark();

  Value& value(ValueId id) { return values_[id]; }
  const Value& expect(ValueId id, Kind kind, std::string_view what) const;
  std::int64_t expect_count(ValueId id, std::string_view what) const;  ///< not negative

  void memorize(std::uint32_t index);
  void recall(std::uint32_t index);

  /// The only value that is left at the end of the stream.
  ValueId result() const;

 private:
  std::string_view pickle_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::size_t opcode_byte_ = 0;
  std::deque<Value> values_;
  std::vector<ValueId> stack_;
  std::vector<std::size_t> marks_;
  std::vector<std::optional<ValueId>> memo_;
};

}  // namespace wan::checkpoint
