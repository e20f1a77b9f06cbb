#include "checkpoint/pickle.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_set>
#include <utility>

#include "checkpoint/pickle_machine.h"
#include "checkpoint/tensor_file.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::size_t max_key_bytes =
    256;  // torch writes small numbers; each tensor copies the key of its storage

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

/// Whether torch.save() writes this class for a tensor that is complex, sparse or quantized.
bool is_other_tensor(std::string_view module, std::string_view name) {
  constexpr std::array<std::string_view, 8> names{"ComplexFloatStorage",
                                                  "ComplexDoubleStorage",
                                                  "QInt8Storage",
                                                  "QUInt8Storage",
                                                  "QInt32Storage",
                                                  "_rebuild_sparse_tensor",
                                                  "_rebuild_sparse_csr_tensor",
                                                  "_rebuild_qtensor"};
  return (module == "torch" || module == "torch._utils") && std::ranges::find(names, name) != names.end();
}

/// Runs the opcodes that torch.save() writes.
class Unpickler : private PickleMachine {
 public:
  using PickleMachine::PickleMachine;

  std::vector<PickledTensor> read(StateDictLevel level) {
    while (!step(take_opcode())) {
    }
    return state_dict(level == StateDictLevel::top ? result() : state_dict_in(result()));
  }

 private:
  /// Runs one opcode. Returns true at the end of the pickle.
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
      case 'b':  // BUILD: sets OrderedDict._metadata, which this reader does not need
        pop();
        expect(top(), Kind::dictionary, "the object whose state is set");
        return false;
      case '.':  // STOP
        return true;
      default:
        error("opcode 0x{:02x} does not describe tensors; the file is refused and nothing was executed",
              opcode);
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
        mark();
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
        const ValueId item = pop();
        const ValueId key = pop();
        set_items({key, item});
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
    if (items.size() % 2 != 0) error("a dictionary item has a key but no value");
    const ValueId id = top();
    expect(id, Kind::dictionary, "the object whose items are set");
    std::vector<ValueId>& target = value(id).items;
    target.insert(target.end(), items.begin(), items.end());
  }

  void push_global() {
    const std::string_view module = take_line();
    const std::string_view name = take_line();
    std::string global = fmt::format("{} {}", module, name);
    if (name == "_rebuild_tensor_v3") {
      error(
          "it contains tensors of a type that is not supported (8-bit floating point?); use a checkpoint in "
          "BF16 or F32");
    }
    if (is_other_tensor(module, name)) {
      error(
          "it holds a tensor of a kind that is not read ({}: complex, sparse or quantized). The file need "
          "not be damaged: use the official file, or convert this tensor to a dense one in BF16, F16 or F32",
          in_quotes(fmt::format("{}.{}", module, name)));
    }
    if (!is_allowed(global)) {
      error(
          "it names {}, which is not one of the classes that describe tensors. The file is refused and "
          "nothing was executed; do not trust it unless you know why this name is there",
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
    if (arguments.size() == 7) tensor.negated = is_negated(arguments[6]);
    if (tensors_.size() == max_tensors_per_file) error("more than {} tensors", max_tensors_per_file);
    tensors_.push_back(std::move(tensor));
    push({.kind = Kind::tensor, .integer = static_cast<std::int64_t>(tensors_.size() - 1)});
  }

  /// Reads the metadata of a view: {'neg': True} if its elements have the opposite sign of the stored ones.
  bool is_negated(ValueId metadata) {
    if (value(metadata).kind == Kind::none) return false;
    const std::vector<ValueId>& items = expect(metadata, Kind::dictionary, "the tensor's metadata").items;
    bool negated = false;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const std::string& key = expect(items[i], Kind::text, "a key of the tensor's metadata").text;
      const bool is_set =
          expect(items[i + 1], Kind::boolean, "a value of the tensor's metadata").integer != 0;
      if (key == "neg") {
        negated = is_set;
      } else if (is_set) {
        error("a tensor has the property {}, which is not supported", in_quotes(key));
      }
    }
    return negated;
  }

  std::vector<std::int64_t> counts(ValueId id, std::string_view what) const {
    const std::vector<ValueId>& items = expect(id, Kind::tuple, what).items;
    if (items.size() > max_dimensions) error("{} has {} dimensions", what, items.size());
    std::vector<std::int64_t> result;
    result.reserve(items.size());
    for (const ValueId item : items) result.push_back(expect_count(item, what));
    return result;
  }

  /// The dictionary in the entry "state_dict", or else the object itself.
  ValueId state_dict_in(ValueId id) {
    const std::vector<ValueId>& items = expect(id, Kind::dictionary, "the pickled object").items;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const Value& key = value(items[i]);
      if (key.kind == Kind::text && key.text == "state_dict") return items[i + 1];
    }
    return id;
  }

  std::vector<PickledTensor> state_dict(ValueId id) {
    const std::vector<ValueId>& items = expect(id, Kind::dictionary, "the pickled object").items;
    if (items.size() / 2 > max_tensors_per_file) error("more than {} items", max_tensors_per_file);
    std::vector<PickledTensor> result;
    result.reserve(items.size() / 2);
    std::unordered_set<std::string_view> names;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const std::string& name = expect(items[i], Kind::text, "a key of the state dictionary").text;
      if (!names.insert(name).second) error("the state dictionary has {} twice", in_quotes(name));
      const Value& item = value(items[i + 1]);
      if (item.kind != Kind::tensor) {
        error("entry {} is {}, not a tensor; expected a plain state dictionary", in_quotes(name),
              kind_name(item.kind));
      }
      result.push_back(tensors_[static_cast<std::size_t>(item.integer)]);
      result.back().name = name;
    }
    return result;
  }

  std::vector<PickledTensor> tensors_;
};

}  // namespace

std::vector<PickledTensor> read_pickled_state_dict(std::string_view pickle, const std::string& where,
                                                   StateDictLevel level) {
  return Unpickler(pickle, where).read(level);
}

}  // namespace wan::checkpoint
