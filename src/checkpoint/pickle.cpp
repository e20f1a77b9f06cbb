#include "checkpoint/pickle.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>

#include "checkpoint/tensor_file.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::size_t max_values = 1 << 20;
constexpr std::uint32_t max_memo_index = 1 << 20;
constexpr std::size_t max_global_bytes = 256;
constexpr std::size_t max_key_bytes =
    256;  // torch writes small numbers; each tensor of a storage copies its key

/// Values refer to each other by index: a pickle may tie them into cycles or nest them deeply, and neither
/// may cost memory or stack here.
using ValueId = std::uint32_t;

enum class Kind { none, boolean, integer, text, tuple, dictionary, global, storage, tensor };

struct Value {
  Kind kind = Kind::none;
  std::int64_t integer = 0;  ///< boolean, integer; storage: element count; tensor: index into the tensors
  std::string text = {};     ///< text; global: "module name"; storage: key
  std::vector<ValueId> items = {};  ///< tuple; dictionary: key, value, key, value ...
  DType dtype = DType::f32;         ///< storage
};

std::string_view kind_name(Kind kind) {
  constexpr std::array<std::string_view, 9> names{
      "None",         "a boolean",    "an integer",          "a text",  "a tuple",
      "a dictionary", "a class name", "a storage reference", "a tensor"};
  return names.at(static_cast<std::size_t>(kind));
}

constexpr std::string_view ordered_dict = "collections OrderedDict";
constexpr std::string_view rebuild_tensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view rebuild_parameter = "torch._utils _rebuild_parameter";

constexpr std::array<std::pair<std::string_view, DType>, 10> storage_classes{
    {{"torch DoubleStorage", DType::f64},
     {"torch FloatStorage", DType::f32},
     {"torch HalfStorage", DType::f16},
     {"torch BFloat16Storage", DType::bf16},
     {"torch LongStorage", DType::i64},
     {"torch IntStorage", DType::i32},
     {"torch ShortStorage", DType::i16},
     {"torch CharStorage", DType::i8},
     {"torch ByteStorage", DType::u8},
     {"torch BoolStorage", DType::boolean}}};

std::optional<DType> storage_dtype(std::string_view global) {
  for (const auto& [name, dtype] : storage_classes) {
    if (name == global) return dtype;
  }
  return std::nullopt;
}

bool is_allowed(std::string_view global) {
  return global == ordered_dict || global == rebuild_tensor || global == rebuild_parameter ||
         storage_dtype(global).has_value();
}

/// The pickle machine of protocol 2: a stack of values, marks into it, and a memo of values by number.
class Unpickler {
 public:
  Unpickler(std::string_view pickle, const std::string& where) : pickle_(pickle), where_(where) {}

  std::vector<PickledTensor> read() {
    bool stopped = false;
    while (!stopped) {
      opcode_byte_ = at_;
      stopped = step(take<std::uint8_t>());
    }
    if (at_ != pickle_.size()) error("{} bytes follow the end", pickle_.size() - at_);
    if (stack_.size() != 1 || !marks_.empty()) error("{} values are left over at the end", stack_.size());
    return state_dict(stack_.back());
  }

 private:
  template <typename... Args>
  [[noreturn]] void error(fmt::format_string<Args...> format, Args&&... args) const {
    fail<UsageError>("{}: data.pkl byte {}: {}", where_, opcode_byte_,
                     fmt::format(format, std::forward<Args>(args)...));
  }

  // Reading the stream.

  std::string_view take_bytes(std::size_t size) {
    if (size > pickle_.size() - at_) {
      error("the pickle ends after {} bytes, {} more are needed; the file is damaged", pickle_.size(),
            size - (pickle_.size() - at_));
    }
    const std::string_view bytes = pickle_.substr(at_, size);
    at_ += size;
    return bytes;
  }

  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, take_bytes(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view take_line() {
    const std::string_view rest = pickle_.substr(at_, max_global_bytes);
    const std::size_t size = rest.find('\n');
    if (size == std::string_view::npos) error("a class name does not end within {} bytes", max_global_bytes);
    at_ += size + 1;
    return rest.substr(0, size);
  }

  // The stack. What lies below the latest mark is out of reach for everything but the mark's own opcode.

  ValueId push(Value value) {
    if (values_.size() == max_values)
      error("more than {} values; no state dictionary needs so many", max_values);
    values_.push_back(std::move(value));
    const auto id = static_cast<ValueId>(values_.size() - 1);
    stack_.push_back(id);
    return id;
  }

  void push_existing(ValueId id) {
    // One-byte opcodes push too: the stack is held to the same bound as the values.
    if (stack_.size() == max_values) error("the stack is deeper than {}", max_values);
    stack_.push_back(id);
  }

  ValueId top() const {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) error("the stack is empty");
    return stack_.back();
  }

  ValueId pop() {
    const ValueId id = top();
    stack_.pop_back();
    return id;
  }

  std::vector<ValueId> pop_to_mark() {
    if (marks_.empty()) error("there is no mark on the stack");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<ValueId> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }

  const Value& expect(ValueId id, Kind kind, std::string_view what) const {
    const Value& value = values_[id];
    if (value.kind != kind) error("{} is {}; expected {}", what, kind_name(value.kind), kind_name(kind));
    return value;
  }

  std::int64_t expect_count(ValueId id, std::string_view what) const {
    const std::int64_t value = expect(id, Kind::integer, what).integer;
    if (value < 0) error("{} is {}; it cannot be negative", what, value);
    return value;
  }

  void memorize(std::uint32_t index) {
    if (index > max_memo_index) error("memo index {} is above {}", index, max_memo_index);
    const ValueId id = top();
    if (index >= memo_.size()) memo_.resize(index + 1);
    memo_[index] = id;
  }

  void recall(std::uint32_t index) {
    if (index >= memo_.size() || !memo_[index]) error("memo index {} was never set", index);
    push_existing(*memo_[index]);
  }

  // The opcodes.

  /// Runs one opcode; true at the end of the pickle.
  bool step(std::uint8_t opcode) {
    if (push_constant(opcode) || use_memo(opcode) || build_container(opcode)) return false;
    switch (opcode) {
      case 0x80:  // PROTO
        if (const auto protocol = take<std::uint8_t>(); protocol != 2) {
          error("pickle protocol {}; torch.save() writes protocol 2", protocol);
        }
        return false;
      case 'c':  // GLOBAL
        push_global();
        return false;
      case 'Q':  // BINPERSID
        push_storage(pop());
        return false;
      case 'R':  // REDUCE
        reduce();
        return false;
      case 'b':  // BUILD: OrderedDict._metadata, which nothing here needs
        pop();
        expect(top(), Kind::dictionary, "the object whose state is set");
        return false;
      case '.':  // STOP
        return true;
      default:
        error("opcode 0x{:02x} is not one that describes tensors; refused, nothing was executed", opcode);
    }
  }

  bool push_constant(std::uint8_t opcode) {
    switch (opcode) {
      case 'N':  // NONE
        push({.kind = Kind::none});
        return true;
      case 0x88:  // NEWTRUE
      case 0x89:  // NEWFALSE
        push({.kind = Kind::boolean, .integer = opcode == 0x88 ? 1 : 0});
        return true;
      case 'J':  // BININT
        push({.kind = Kind::integer, .integer = take<std::int32_t>()});
        return true;
      case 'K':  // BININT1
        push({.kind = Kind::integer, .integer = take<std::uint8_t>()});
        return true;
      case 'M':  // BININT2
        push({.kind = Kind::integer, .integer = take<std::uint16_t>()});
        return true;
      case 0x8A:  // LONG1
        push({.kind = Kind::integer, .integer = take_long()});
        return true;
      case 'X': {  // BINUNICODE
        const auto size = take<std::uint32_t>();
        push({.kind = Kind::text, .text = std::string(take_bytes(size))});
        return true;
      }
      default:
        return false;
    }
  }

  /// Little-endian two's complement of any length; more than 64 bits is no size of anything.
  std::int64_t take_long() {
    const std::size_t size = take<std::uint8_t>();
    if (size > 8) error("an integer of {} bytes", size);
    const std::string_view bytes = take_bytes(size);
    std::uint64_t value = size > 0 && (static_cast<unsigned char>(bytes.back()) & 0x80U) != 0 ? ~0ULL : 0ULL;
    for (std::size_t i = size; i-- > 0;) value = (value << 8) | static_cast<unsigned char>(bytes[i]);
    return static_cast<std::int64_t>(value);
  }

  bool use_memo(std::uint8_t opcode) {
    switch (opcode) {
      case 'q':  // BINPUT
        memorize(take<std::uint8_t>());
        return true;
      case 'r':  // LONG_BINPUT
        memorize(take<std::uint32_t>());
        return true;
      case 'h':  // BINGET
        recall(take<std::uint8_t>());
        return true;
      case 'j':  // LONG_BINGET
        recall(take<std::uint32_t>());
        return true;
      default:
        return false;
    }
  }

  bool build_container(std::uint8_t opcode) {
    switch (opcode) {
      case '(':  // MARK
        if (marks_.size() == max_values) error("more than {} marks", max_values);
        marks_.push_back(stack_.size());
        return true;
      case '}':  // EMPTY_DICT
        push({.kind = Kind::dictionary});
        return true;
      case ')':  // EMPTY_TUPLE
        push({.kind = Kind::tuple});
        return true;
      case 't':  // TUPLE
        push({.kind = Kind::tuple, .items = pop_to_mark()});
        return true;
      case 0x85:  // TUPLE1
      case 0x86:  // TUPLE2
      case 0x87:  // TUPLE3
        push_tuple(opcode - 0x84U);
        return true;
      case 's': {  // SETITEM
        const ValueId value = pop();
        const ValueId key = pop();
        set_items({key, value});
        return true;
      }
      case 'u':  // SETITEMS
        set_items(pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  void push_tuple(std::size_t size) {
    std::vector<ValueId> items(size);
    for (std::size_t i = size; i-- > 0;) items[i] = pop();
    push({.kind = Kind::tuple, .items = std::move(items)});
  }

  void set_items(const std::vector<ValueId>& items) {
    if (items.size() % 2 != 0) error("a dictionary item has a key and no value");
    const ValueId id = top();
    expect(id, Kind::dictionary, "the object whose items are set");
    std::vector<ValueId>& target = values_[id].items;
    target.insert(target.end(), items.begin(), items.end());
  }

  void push_global() {
    const std::string_view module = take_line();
    const std::string_view name = take_line();
    std::string global = fmt::format("{} {}", module, name);
    if (!is_allowed(global)) {
      error(
          "it names {}, which is not one of the classes that describe tensors. Refused, nothing was "
          "executed; do "
          "not trust this file unless you know why it is there",
          in_quotes(fmt::format("{}.{}", module, name)));
    }
    push({.kind = Kind::global, .text = std::move(global)});
  }

  /// ('storage', class, key, device, element count)
  void push_storage(ValueId id) {
    const std::vector<ValueId> items = expect(id, Kind::tuple, "a persistent id").items;
    if (items.size() != 5 || expect(items[0], Kind::text, "a persistent id's type").text != "storage") {
      error("a persistent id is not ('storage', class, key, device, element count)");
    }
    const std::string& global = expect(items[1], Kind::global, "a storage's class").text;
    const std::optional<DType> dtype = storage_dtype(global);
    if (!dtype) error("{} is not a storage class", in_quotes(global));
    expect(items[3], Kind::text, "a storage's device");
    const std::string& key = expect(items[2], Kind::text, "a storage's key").text;
    if (key.size() > max_key_bytes) error("a storage's key is {} bytes long", key.size());
    push({.kind = Kind::storage,
          .integer = expect_count(items[4], "a storage's element count"),
          .text = key,
          .dtype = *dtype});
  }

  void reduce() {
    const std::vector<ValueId> arguments = expect(pop(), Kind::tuple, "the argument list of REDUCE").items;
    const std::string global = expect(pop(), Kind::global, "the object of REDUCE").text;
    if (global == ordered_dict) {
      if (!arguments.empty()) error("OrderedDict with arguments; torch.save() fills it item by item");
      push({.kind = Kind::dictionary});
    } else if (global == rebuild_tensor) {
      push_tensor(arguments);
    } else if (global == rebuild_parameter) {
      if (arguments.size() != 3) error("_rebuild_parameter has {} arguments; expected 3", arguments.size());
      expect(arguments[0], Kind::tensor, "the parameter's data");
      push_existing(arguments[0]);
    } else {
      error("{} is a class to refer to, not to build", in_quotes(global));
    }
  }

  /// (storage, storage offset, shape, stride, requires_grad, hooks), and metadata in newer files
  void push_tensor(const std::vector<ValueId>& arguments) {
    if (arguments.size() != 6 && arguments.size() != 7) {
      error("_rebuild_tensor_v2 has {} arguments; expected 6", arguments.size());
    }
    const Value& storage = expect(arguments[0], Kind::storage, "the tensor's storage");
    PickledTensor tensor{.name = {},
                         .dtype = storage.dtype,
                         .storage_key = storage.text,
                         .storage_elements = storage.integer,
                         .storage_offset = expect_count(arguments[1], "the storage offset"),
                         .shape = counts(arguments[2], "the shape"),
                         .stride = counts(arguments[3], "the stride")};
    if (tensor.shape.size() != tensor.stride.size()) {
      error("a tensor has {} sizes and {} strides", tensor.shape.size(), tensor.stride.size());
    }
    expect(arguments[5], Kind::dictionary, "the tensor's hooks");
    if (tensors_.size() == max_tensors_per_file) error("more than {} tensors", max_tensors_per_file);
    tensors_.push_back(std::move(tensor));
    push({.kind = Kind::tensor, .integer = static_cast<std::int64_t>(tensors_.size() - 1)});
  }

  std::vector<std::int64_t> counts(ValueId id, std::string_view what) const {
    const std::vector<ValueId>& items = expect(id, Kind::tuple, what).items;
    if (items.size() > max_dimensions) error("{} has {} dimensions", what, items.size());
    std::vector<std::int64_t> result;
    result.reserve(items.size());
    for (const ValueId item : items) result.push_back(expect_count(item, what));
    return result;
  }

  std::vector<PickledTensor> state_dict(ValueId id) const {
    const std::vector<ValueId>& items = expect(id, Kind::dictionary, "the pickled object").items;
    if (items.size() / 2 > max_tensors_per_file) error("more than {} items", max_tensors_per_file);
    std::vector<PickledTensor> result;
    result.reserve(items.size() / 2);
    std::unordered_set<std::string_view> names;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const std::string& name = expect(items[i], Kind::text, "a key of the state dictionary").text;
      if (!names.insert(name).second) error("the state dictionary has {} twice", in_quotes(name));
      const Value& value = values_[items[i + 1]];
      if (value.kind != Kind::tensor) {
        error("entry {} is {}, not a tensor; expected a plain state dictionary", in_quotes(name),
              kind_name(value.kind));
      }
      result.push_back(tensors_[static_cast<std::size_t>(value.integer)]);
      result.back().name = name;
    }
    return result;
  }

  std::string_view pickle_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::size_t opcode_byte_ = 0;
  std::deque<Value> values_;
  std::vector<ValueId> stack_;
  std::vector<std::size_t> marks_;
  std::vector<std::optional<ValueId>> memo_;
  std::vector<PickledTensor> tensors_;
};

}  // namespace

std::vector<PickledTensor> read_pickled_state_dict(std::string_view pickle, const std::string& where) {
  return Unpickler(pickle, where).read();
}

}  // namespace wan::checkpoint
