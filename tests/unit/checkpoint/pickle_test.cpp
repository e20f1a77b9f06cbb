#include "checkpoint/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint_files.h"

namespace wan::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::string_literals;
using test::little_endian;

// The opcodes as torch.save() writes them.
std::string text(const std::string& value) {
  return "X" + little_endian(static_cast<std::uint32_t>(value.size())) + value;
}
std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
std::string integer(std::int32_t value) { return "J" + little_endian(value); }
std::string pickle(const std::string& body) { return "\x80\x02" + body + "."; }
std::string dict_of(const std::string& items) { return "}(" + items + "u"; }
std::string reduce(const std::string& callable, const std::string& arguments) {
  return callable + arguments + "R";
}

const std::string ordered_dict = reduce(global("collections", "OrderedDict"), ")");
const std::string rebuild = global("torch._utils", "_rebuild_tensor_v2");

std::string storage(const std::string& key = text("0"), const std::string& elements = integer(4),
                    const std::string& type = global("torch", "FloatStorage")) {
  return "(" + text("storage") + type + key + text("cpu") + elements + "tQ";
}
std::string tensor(const std::string& shape = integer(4) + "\x85",
                   const std::string& stride = integer(1) + "\x85", const std::string& from = storage(),
                   const std::string& offset = integer(0)) {
  return reduce(rebuild, "(" + from + offset + shape + stride + "\x89" + ordered_dict + "t");
}

TEST(Pickle, ReadsAStateDictionary) {
  const auto tensors =
      read_pickled_state_dict(pickle(dict_of(text("w") + tensor() + text("p") +
                                             reduce(global("torch._utils", "_rebuild_parameter"),
                                                    "(" + tensor() + "\x88" + ordered_dict + "t"))),
                              "f");
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].dtype, DType::f32);
  EXPECT_EQ(tensors[0].storage_key, "0");
  EXPECT_EQ(tensors[0].storage_elements, 4);
  EXPECT_THAT(tensors[0].shape, ElementsAre(4));
  EXPECT_EQ(tensors[1].name, "p");
}

TEST(Pickle, TheStateDictionaryMayLieOneLevelDeeper) {
  const std::string below =
      pickle(dict_of(text("epoch") + integer(3) + text("state_dict") + dict_of(text("w") + tensor())));
  const auto tensors = read_pickled_state_dict(below, "f", StateDictLevel::top_or_below);
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_THAT(test::usage_error_of([&] { read_pickled_state_dict(below, "f"); }),
              HasSubstr("entry 'epoch' is an integer, not a tensor"));
  const std::string top = pickle(dict_of(text("w") + tensor()));
  EXPECT_EQ(read_pickled_state_dict(top, "f", StateDictLevel::top_or_below).size(), 1U);
}

TEST(Pickle, ReadsLongIntegersAndMemo) {
  const std::string big = "\x8a\x05"s + "\x00\x00\x00\x00\x02"s;  // 2^33
  const auto tensors = read_pickled_state_dict(
      pickle("}q\x01"s + text("w") + "r" + little_endian<std::uint32_t>(70'000) + "0"s.substr(1) +
             tensor("\x8a\x00"s + "\x85", integer(1) + "\x85", storage(text("0"), big), "K\x07") + "s"),
      "f");
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_EQ(tensors[0].storage_elements, std::int64_t{1} << 33);
  EXPECT_THAT(tensors[0].shape, ElementsAre(0));
  EXPECT_EQ(tensors[0].storage_offset, 7);
}

struct Malicious {
  std::string name;
  std::string pickle;
  std::string message;
};

/// Pickles for which Python would run code.
std::vector<Malicious> code() {
  std::vector<Malicious> cases;
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"os", "system"},
                                                        {"posix", "system"},
                                                        {"nt", "system"},
                                                        {"subprocess", "Popen"},
                                                        {"subprocess", "check_output"},
                                                        {"builtins", "eval"},
                                                        {"builtins", "exec"},
                                                        {"builtins", "getattr"},
                                                        {"builtins", "__import__"},
                                                        {"__builtin__", "eval"},
                                                        {"builtins", "open"},
                                                        {"importlib", "import_module"},
                                                        {"runpy", "run_path"},
                                                        {"pickle", "loads"},
                                                        {"torch", "load"},
                                                        {"torch.hub", "load"},
                                                        {"torch.storage", "_load_from_bytes"},
                                                        {"torch._utils", "_rebuild_tensor"},
                                                        {"torch.nn.modules.linear", "Linear"},
                                                        {"torch", "FloatStorage.__init__"},
                                                        {"torch", "_utils._rebuild_tensor_v2"},
                                                        {"numpy.core.multiarray", "_reconstruct"},
                                                        {"codecs", "encode"},
                                                        {"operator", "attrgetter"},
                                                        {"collections", "OrderedDict\r"},
                                                        {"collections", "defaultdict"},
                                                        {"", ""}}) {
    const std::string callable = module + "." + name.substr(0, name.find('\r'));
    cases.push_back({callable, pickle(reduce(global(module, name), text("touch /tmp/pwned") + "\x85")),
                     "The file is refused and nothing was executed"});
  }
  const std::string system = reduce(global("os", "system"), text("id") + "\x85");
  cases.push_back({"hidden in a value", pickle(dict_of(text("w") + system)), "'os.system'"});
  cases.push_back({"hidden in a shape", pickle(dict_of(text("w") + tensor(system))), "'os.system'"});
  cases.push_back({"hidden in metadata", pickle(ordered_dict + system + "b"), "'os.system'"});
  cases.push_back({"before a good one", pickle(system + dict_of(text("w") + tensor())), "'os.system'"});
  cases.push_back(
      {"nested reduce", pickle(reduce(reduce(global("builtins", "getattr"), ")"), ")")), "builtins.getattr"});
  cases.push_back(
      {"reduce of a reduce", pickle(ordered_dict + ")R"), "the object of REDUCE is a dictionary"});
  cases.push_back(
      {"reduce of a text", pickle(reduce(text("os.system"), ")")), "the object of REDUCE is a text"});
  cases.push_back({"reduce of a storage class",
                   pickle(reduce(global("torch", "FloatStorage"), integer(9) + "\x85")), "not to build"});
  for (const auto& [name, opcode] : std::vector<std::pair<std::string, std::string>>{
           {"INST", "(ios\nsystem\n"},
           {"OBJ", "(" + ordered_dict + "o"},
           {"NEWOBJ", ordered_dict + ")\x81"},
           {"NEWOBJ_EX", ordered_dict + ")}\x92"},
           {"STACK_GLOBAL", text("os") + text("system") + "\x93"},
           {"EXT1", "\x82\x01"},
           {"EXT4", "\x84\x01\x01\x01\x01"},
           {"PERSID", "Pos.system\n"},
           {"BYTEARRAY8", "\x96"s + std::string(8, '\x7f')},
           {"FRAME", "\x95"s + std::string(8, '\x7f')},
           {"SHORT_BINUNICODE", "\x8c\x01x"},
           {"MEMOIZE", "}\x94"},
           {"BINUNICODE8", "\x8d"s + std::string(8, '\x7f')},
           {"LONG4", "\x8b\xff\xff\xff\x7f"},
           {"GET", "g1\n"},
           {"STRING", "S'os.system'\n"},
           {"UNICODE", "Vos.system\n"},
           {"EMPTY_LIST", "]"},
           {"DUP", "}2"},
           {"POP", "}0"},
           {"NUL", std::string(1, '\0')},
           {"0xFF", "\xff"}}) {
    cases.push_back({name, pickle(opcode), "nothing was executed"});
  }
  return cases;
}

/// Pickles that are cut off, inconsistent or made to exhaust memory or time.
std::vector<Malicious> malformed() {
  const std::string good = pickle(dict_of(text("w") + tensor()));
  return {
      {"empty", "", "ends after 0 bytes"},
      {"protocol only", "\x80\x02", "ends after 2 bytes"},
      {"protocol 4", "\x80\x04}.", "pickle protocol 4"},
      {"no stop", good.substr(0, good.size() - 1), "ends after"},
      {"bytes behind the end", good + "x", "1 bytes follow the end"},
      {"stop at once", pickle(""), "0 values are left over"},
      {"two results", pickle("}}"), "2 values are left over"},
      {"mark left over", pickle("(}"), "left over"},
      {"text cut off",
       "\x80\x02X\x10\x00\x00\x00"
       "ab"s,
       "ends after"},
      {"text of 4 GiB", pickle("X\xff\xff\xff\xff"), "more are needed"},
      {"integer cut off", "\x80\x02J\x01", "ends after"},
      {"integer of 255 bytes", pickle("\x8a\xff" + std::string(255, '\1')), "an integer of 255 bytes"},
      {"global cut off",
       "\x80\x02"
       "ctorch\nFloat",
       "does not end"},
      {"global too long", pickle("c" + std::string(100'000, 'x') + "\n\n"), "does not end within 256"},
      {"memo never set", pickle("h\x05"), "memo index 5 was never set"},
      {"long memo never set", pickle("j" + little_endian<std::uint32_t>(~0U)), "never set"},
      {"memo of nothing", pickle("q\x01"), "the stack is empty"},
      {"memo index 2^32-1", pickle("}r\xff\xff\xff\xff"), "memo index 4294967295 is above"},
      {"memo index 2^30", pickle("}r" + little_endian<std::uint32_t>(1U << 30)), "is above"},
      {"pop below a mark", pickle("}((" + text("k") + "s"), "the stack is empty"},
      {"tuple of nothing", pickle("\x87"), "the stack is empty"},
      {"tuple without a mark", pickle("}t"), "no mark"},
      {"items without a mark", pickle("}u"), "no mark"},
      {"items into a tuple", pickle(")(" + text("k") + "Nu"), "is a tuple; expected a dictionary"},
      {"odd items", pickle("}(" + text("k") + "u"), "a key but no value"},
      {"build on a tuple", pickle(")}b"), "is a tuple; expected a dictionary"},
      {"reduce without arguments", pickle(global("collections", "OrderedDict") + "R"),
       "is a class name; expected a tuple"},
      {"ordered dict of items", pickle(reduce(global("collections", "OrderedDict"), "N\x85")),
       "with arguments"},
      {"result None", pickle("N"), "the pickled object is None"},
      {"result tensor", pickle(tensor()), "the pickled object is a tensor"},
      {"key integer", pickle(dict_of(integer(1) + tensor())), "a key of the state dictionary is an integer"},
      {"value text", pickle(dict_of(text("w") + text("x"))), "entry 'w' is a text, not a tensor"},
      {"value nested", pickle(dict_of(text("state_dict") + "}")), "entry 'state_dict' is a dictionary"},
      {"value itself", pickle("}q\x01(" + text("w") + "h\x01u"), "entry 'w' is a dictionary"},
      {"key twice", pickle(dict_of(text("w") + tensor() + text("w") + tensor())), "'w' twice"},
      {"complex", pickle(global("torch", "ComplexFloatStorage")), "convert this tensor to a dense one"},
      {"sparse", pickle(global("torch._utils", "_rebuild_sparse_tensor")),
       "use the official file, or convert"},
      {"quantized", pickle(global("torch._utils", "_rebuild_qtensor")), "need not be damaged"},
      {"persistent id text", pickle(text("x") + "Q"), "a persistent id is a text"},
      {"persistent id short", pickle(text("storage") + "\x85Q"), "not ('storage'"},
      {"persistent id of a module", pickle("(" + text("module") + "NNNNtQ"), "not ('storage'"},
      {"storage of a dict", pickle(storage(text("0"), integer(4), global("collections", "OrderedDict"))),
       "not a storage class"},
      {"storage class text", pickle(storage(text("0"), integer(4), text("FloatStorage"))),
       "is a text; expected a class name"},
      {"storage key integer", pickle(storage(integer(0))), "a storage's key is an integer"},
      {"storage key long", pickle(storage(text(std::string(300, 'k')))), "key is 300 bytes"},
      {"storage size negative", pickle(storage(text("0"), integer(-1))), "is -1; it cannot be negative"},
      {"tensor with 5 arguments", pickle(reduce(rebuild, "(NNNNNt")), "5 arguments"},
      {"tensor without storage", pickle(tensor(")", ")", "N")), "the tensor's storage is None"},
      {"shape text", pickle(tensor(text("4"))), "the shape is a text"},
      {"shape negative", pickle(tensor(integer(-4) + "\x85")), "the shape is -4"},
      {"stride negative", pickle(tensor(integer(4) + "\x85", integer(-1) + "\x85")), "the stride is -1"},
      {"offset negative", pickle(tensor(integer(4) + "\x85", integer(1) + "\x85", storage(), integer(-4))),
       "offset is -4"},
      {"stride missing", pickle(tensor(integer(4) + "\x85", ")")), "1 sizes and 0 strides"},
      {"17 dimensions", pickle(tensor("(" + std::string(34, 'N') + "t")), "34 dimensions"},
      {"deep tuples", "\x80\x02)" + std::string(900'000, '\x85') + ".", "the pickled object is a tuple"},
      {"deep marks", "\x80\x02" + std::string(2'000'000, '('), "marks"},
      {"many values", "\x80\x02" + std::string(2'000'000, 'N'), "more than 1048576 values"},
  };
}

TEST(Pickle, RunsNoCodeAndNamesWhatItRefuses) {
  std::size_t refused = 0;
  for (const auto& group : {code(), malformed()}) {
    for (const Malicious& malicious : group) {
      SCOPED_TRACE(malicious.name);
      const double start_s = test::cpu_s();
      const std::string message =
          test::usage_error_of([&] { read_pickled_state_dict(malicious.pickle, "file.pth"); });
      EXPECT_THAT(message, HasSubstr(malicious.message));
      EXPECT_THAT(message, HasSubstr("file.pth: data.pkl byte"));
      EXPECT_LT(message.size(), 700U);
      EXPECT_LT(test::cpu_s() - start_s, test::time_limit_s);
      ++refused;
    }
  }
  EXPECT_GE(refused, 100U);
}

TEST(Pickle, RecalledValuesAreBoundedToo) {
  std::string bomb = "\x80\x02}q\x01";
  for (int i = 0; i < 2'000'000; ++i) bomb += "h\x01";
  EXPECT_THAT(test::usage_error_of([&] { read_pickled_state_dict(bomb, "f"); }),
              HasSubstr("the stack is deeper"));
}

TEST(Pickle, EveryTruncationOfAGoodOneIsRefused) {
  const std::string good = pickle(dict_of(text("w") + tensor()));
  for (std::size_t size = 0; size < good.size(); ++size) {
    SCOPED_TRACE(size);
    test::usage_error_of([&] { read_pickled_state_dict(std::string_view(good).substr(0, size), "f"); });
  }
}

}  // namespace
}  // namespace wan::checkpoint
