// Pickles that no honest writer made: each refused under its name, with the byte, and within bounds.
#include <gtest/gtest.h>

#include "octavo/base/text.h"
#include "octavo/checkpoint/torch/torch_file.h"
#include "octavo/checkpoint/torch/unpickler.h"
#include "tests/support/torch_builder.h"

namespace octavo {
namespace {

using namespace test::pickle;
using test::legacy_file;
using test::torch_archive;

Result<TorchFile> read(const std::string& bytes) { return read_torch_file(MemorySource(as_bytes(bytes), "m.bin")); }

std::string error_of(const std::string& bytes) {
  const auto file = read(bytes);
  return file.ok() ? "no error" : file.error().message;
}

// A state dict of one value.
std::string state(const std::string& value) { return proto() + dict({{text("w"), value}}) + "."; }
std::string repeat(std::string_view part, std::size_t times) {
  std::string out;
  out.reserve(part.size() * times);
  for (std::size_t i = 0; i < times; ++i) out += part;
  return out;
}

const std::string kRebuild = global("torch._utils", "_rebuild_tensor_v2");
const std::string kStorage = storage("FloatStorage", "0", 6);
const std::string kShape = tuple({number(2), number(3)}), kStrides = tuple({number(3), number(1)});
const std::string kGood = tensor(kStorage, 0, {2, 3}, {3, 1});

TEST(TorchPickle, WhatTheBuilderMakesIsRead) {
  const std::string bytes = torch_archive(small_state());
  const auto file = read(bytes);
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors.size(), 1u);
  EXPECT_EQ(file->tensors[0].name, "w");
  EXPECT_EQ(file->tensors[0].shape, (Shape{2, 3}));
  EXPECT_EQ(bytes.substr(file->tensors[0].begin, file->tensors[0].bytes()), std::string(24, 'x'));
}

TEST(TorchPickle, OtherSpellings) {
  const std::string cases[] = {
      // Old versions wrote _rebuild_tensor; Python 2 wrote dicts as lists of pairs, and byte strings.
      state(call(global("torch._utils", "_rebuild_tensor"), {kStorage, number(0), kShape, kStrides})),
      proto() + call(global("collections", "OrderedDict"), {"](](U\x01w" + kGood + "ee"}) + ".",
      state(call(kRebuild, {kStorage, number(0), call(global("torch", "Size"), {kShape}), kStrides, "\x89", "N", "N"})),
      state(call(global("torch._utils", "_rebuild_parameter"), {kGood, "\x88", ordered_dict()})),
      // UntypedStorage with a dtype.
      state(call(global("torch._utils", "_rebuild_tensor_v3"),
                 {storage("UntypedStorage", "0", 24), number(0), kShape, kStrides, "\x89", ordered_dict(),
                  global("torch", "float32")})),
      // Attributes of the state dict; POP, POP_MARK, DICT items one by one, a FLOAT, protocol 4 opcodes.
      proto() + ordered_dict() + text("w") + kGood + "s}" + text("_metadata") + ordered_dict() + "sb.",
      proto(4) + "\x95" + std::string(8, '\0') + "}\x94\x8c\x01w\x94" + kGood + "sN0(NNG" + std::string(8, 'd') + "1.",
      proto() + "}" + text("epoch") + "J\xff\xff\xff\xffs" + text("model") + dict({{text("w"), kGood}}) + "s.",
  };
  for (const std::string& pickle : cases) {
    const std::string bytes = torch_archive(pickle);
    const auto file = read(bytes);
    ASSERT_TRUE(file.ok()) << file.error().message << "\n" << printable(pickle, 4000);
    ASSERT_EQ(file->tensors.size(), 1u);
    EXPECT_EQ(file->tensors[0].name, "w");
    EXPECT_EQ(file->tensors[0].dtype, DType::kF32);
    EXPECT_EQ(file->tensors[0].shape, (Shape{2, 3}));
  }
}

struct Refused {
  const char* error;
  std::string pickle;
};

TEST(TorchPickle, RefusedByName) {
  const std::int64_t huge = std::int64_t{1} << 62;
  const Refused cases[] = {
      // Code.
      {"m.bin: data.pkl: byte 2: asks for os.system: ", proto() + "cos\nsystem\n(X\x02\0\0\0lstR."},
      {"asks for builtins.eval", state(call(global("builtins", "eval"), {text("1")}))},
      {"asks for __builtin__.exec", state(call(global("__builtin__", "exec"), {text("1")}))},
      {"asks for torch.storage._load_from_bytes", state(call(global("torch.storage", "_load_from_bytes"), {text("")}))},
      {"asks for torch._utils._rebuild_tensor_v2.__globals__",
       state(global("torch._utils", "_rebuild_tensor_v2.__globals__"))},
      {"asks for torch.load: not among", state(global("torch", "load"))},
      {"asks for collections.\\x1b[2J: ", state(global("collections", "\x1b[2J"))},
      {"asks for posix.system: ", proto(4) + text("posix") + text("system") + "\x93."},
      {"asks for posix.system by INST: ", proto() + "(" + text("ls") + "iposix\nsystem\n."},
      {"OBJ is no opcode that pickled tensors need", proto() + "(" + global("collections", "OrderedDict") + "o."},
      {"NEWOBJ is no opcode", proto() + global("collections", "OrderedDict") + ")\x81."},
      {"NEWOBJ_EX is no opcode", proto(4) + global("collections", "OrderedDict") + ")}\x92."},
      {"EXT1 is no opcode", proto() + "\x82\x01."},
      {"PERSID is no opcode", proto() + "Pstorage\n."},
      {"BYTEARRAY8 is no opcode", proto(5) + "\x96" + std::string(8, '\0') + "."},
      {"0xff is no opcode of a pickle", proto() + "\xff."},
      {"pickle protocol 6 is not known", proto(6) + "."},
      // Calls of what may not be called, with what may not be given.
      {"calls torch.FloatStorage, which is no function here", state(call(global("torch", "FloatStorage"), {}))},
      {"calls a dict with a tuple", state("})R")},
      {"calls a type with a dict", state(global("collections", "OrderedDict") + "}R")},
      {"collections.OrderedDict has unexpected arguments", state(call(global("collections", "OrderedDict"), {"}"}))},
      {"an item that is no pair", state(call(global("collections", "OrderedDict"), {"](Ne"}))},
      {"torch.Size has unexpected arguments", state(call(global("torch", "Size"), {"N"}))},
      {"_rebuild_parameter has unexpected arguments",
       state(call(global("torch._utils", "_rebuild_parameter"), {"N", "\x88", "N"}))},
      {"sets the state of a tensor from a dict", state(kGood + "}b")},
      {"sets the state of a dict from a string", proto() + "}" + text("x") + "b."},
      {"sets an item of a list", proto() + "]NNs."},
      {"appends to a dict", proto() + "}Na."},
      // The stack.
      {"byte 0: the pickle ends with 0 values", "."},
      {"ends with 2 values", proto() + "}}."},
      {"ends with 1 values", proto() + "}(."},
      {"the pickle does not end within its 3 bytes", proto() + "}"},
      {"the pickle does not end within its 0 bytes", ""},
      {"a value is missing on the stack", proto() + "0."},
      {"a value is missing on the stack", proto() + "N\x86."},
      {"a value is missing on the stack", proto() + "N(0."},
      {"a mark is missing on the stack", proto() + "Nt."},
      {"a mark is missing on the stack", proto() + "1."},
      {"a key without a value", proto() + "}(Nu."},
      {"a global without a name", proto(4) + "NN\x93."},
      {"asks for value 7, which was not remembered", proto() + "h\x07."},
      {"asks for value 1, which was not remembered", proto() + "}q\x02h\x01."},
      {"remembers value 4294967295 after only 0", proto() + "}r\xff\xff\xff\xff."},
      // Bounds.
      {"says that 4294967295 bytes follow, 1 are left", proto() + "X\xff\xff\xff\xff."},
      {"says that 18446744073709551615 bytes follow", proto() + "\x8d" + std::string(8, '\xff') + "."},
      {"says that 2147483648 bytes follow", proto() + "\x8b" + std::string("\0\0\0\x80", 4) + "."},
      {"more than 256 nested containers", proto() + repeat("(", 300) + "."},
      {"more than 100000 values on the stack", proto() + repeat("]", 100'001) + "."},
      {"a name of more than 1024 bytes", proto() + "c" + std::string(2000, 'x') + "\n"},
      {"more than 8000000 values", proto() + "N" + repeat("\x85", 4'000'001) + "."},
      // Storages.
      {"refers to a string outside the pickle", proto() + text("storage") + "Q."},
      {"refers to something without a kind", proto() + ")Q."},
      {"refers to a \"module\" outside the pickle", proto() + tuple({text("module")}) + "Q."},
      {"refers to a storage in an unknown way", proto() + tuple({text("storage")}) + "Q."},
      {"refers to a storage in an unknown way", state(storage("float32", "0", 6))},
      {"refers to a storage in an unknown way", state(storage("FloatStorage", "0", -6))},
      {"asks for torch.QInt8Storage: not among", state(storage("QInt8Storage", "0", 6))},
      {"\"w\" is a storage, a state dict holds only tensors", state(kStorage)},
      {"its storage \"1\" is not in the file", state(tensor(storage("FloatStorage", "1", 6), 0, {2, 3}, {3, 1}))},
      {"its storage \"../data.pkl\" is not in the file",
       state(tensor(storage("FloatStorage", "../data.pkl", 6), 0, {2, 3}, {3, 1}))},
      {"its storage \"0\" should have 28 bytes, the file has 24",
       state(tensor(storage("FloatStorage", "0", 7), 0, {2, 3}, {3, 1}))},
      {"its storage \"0\" should have 20 bytes, the file has 24",
       state(tensor(storage("FloatStorage", "0", 5), 0, {2, 2}, {2, 1}))},
      // Tensors.
      {"tensor \"w\": F32 [2, 3] from element 1 on reaches past its storage of 24 bytes",
       state(tensor(kStorage, 1, {2, 3}, {3, 1}))},
      {"from element 4611686018427387904 on reaches past", state(tensor(kStorage, huge, {2, 3}, {3, 1}))},
      {"from element 7 on reaches past", state(tensor(kStorage, 7, {0}, {1}))},
      {"is too large", state(tensor(kStorage, 0, {huge, 4}, {4, 1}))},
      {"is too large", state(tensor(storage("FloatStorage", "0", huge), 0, {2}, {1}))},
      {"the offset is no number of at least 0", state(tensor(kStorage, -1, {2, 3}, {3, 1}))},
      {"shape and strides are no numbers of at least 0", state(tensor(kStorage, 0, {2, -3}, {3, 1}))},
      {"shape and strides differ in length", state(tensor(kStorage, 0, {2, 3}, {1}))},
      {"more than 64 dimensions",
       state(tensor(kStorage, 0, std::vector<std::int64_t>(65, 1), std::vector<std::int64_t>(65, 1)))},
      {"is stored transposed", state(tensor(kStorage, 0, {3, 2}, {1, 3}))},
      {"is a view that does not lie in one piece", state(tensor(kStorage, 0, {2, 3}, {0, 1}))},
      {"is a view that does not lie in one piece", state(tensor(kStorage, 0, {6}, {huge}))},
      {"the first argument is no storage", state(call(kRebuild, {kGood, number(0), kShape, kStrides, "N", "N"}))},
      {"shape and strides are no tuples", state(call(kRebuild, {kStorage, number(0), "N", kStrides, "N", "N"}))},
      {"unexpected arguments", state(call(kRebuild, {kStorage, number(0), kShape, kStrides}))},
      {"the dtype is not said", state(tensor(storage("UntypedStorage", "0", 24), 0, {24}, {1}))},
      {"the dtype is none", state(call(global("torch._utils", "_rebuild_tensor_v3"),
                                       {storage("UntypedStorage", "0", 24), number(0), kShape, kStrides, "\x89", "N",
                                        global("torch", "FloatStorage")}))},
      // State dicts.
      {"tensor \"w\" appears twice", proto() + dict({{text("w"), kGood}, {text("w"), kGood}}) + "."},
      {"tensor \"\\xff\": the name is not UTF-8", proto() + dict({{text("\xff"), kGood}}) + "."},
      {"the state dict has None as a key", proto() + dict({{"N", kGood}}) + "."},
      {"\"x\" in \"model\" is a dict, a state dict holds only tensors",
       proto() + dict({{text("model"), dict({{text("x"), dict({{text("w"), kGood}})}})}}) + "."},
      {"holds no tensors", proto() + "}."},
      {"holds None where a state dict", proto() + "N."},
  };
  for (const Refused& c : cases) {
    const std::string message = error_of(torch_archive(c.pickle));
    EXPECT_NE(message.find(c.error), std::string::npos) << c.error << "\n-> " << message;
    EXPECT_TRUE(message.starts_with("m.bin: ")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 500u) << message;
  }
}

// A memo bomb: a list of a list of a list, each ten times in the next. Nothing is ever unfolded.
TEST(TorchPickle, WhatIsReferredToManyTimesStaysOnce) {
  std::string bomb = proto() + std::string("]q\0", 3);
  for (char level = 1; level < 100; ++level) {
    bomb += std::string("]q") + level + "(" + repeat(std::string("h") + static_cast<char>(level - 1), 10) + "e";
  }
  // Each ']' leaves its predecessor below it: a tuple of them all is the value beside the tensor.
  const std::string pickle =
      proto() + "}(" + text("model") + dict({{text("w"), kGood}}) + text("bomb") + "(" + bomb.substr(2) + "tu.";
  const std::string bytes = torch_archive(pickle);
  const auto file = read(bytes);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->tensors.size(), 1u);
}

TEST(TorchPickle, AListMayHoldItself) {
  EXPECT_NE(error_of(torch_archive(proto() + std::string("]q\0h\0a.", 7))).find("holds a list where"),
            std::string::npos);
  EXPECT_NE(error_of(torch_archive(proto() + std::string("}q\0X\x05\0\0\0modelh\0s.", 17))).find("\"model\""),
            std::string::npos);
}

TEST(TorchPickle, LegacyFilesThatLie) {
  const std::string data(24, 'y');
  const std::string good = legacy_file(small_state(), {{"0", 6, data}});
  const auto file = read(good);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(good.substr(file->tensors.at(0).begin, file->tensors[0].bytes()), data);

  const std::string storage_view = tuple({text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"),
                                          number(6), tuple({text("1"), number(0), number(6)})}) +
                                   "Q";
  const Refused cases[] = {
      {"was written big-endian", legacy_file(small_state(), {{"0", 6, data}}, "\x89")},
      {"truncated: storage \"0\" has 7 elements", legacy_file(small_state(), {{"0", 7, data}})},
      {"truncated: storage \"0\" has 4611686018427387904 elements",
       legacy_file(small_state(), {{"0", std::uint64_t{1} << 62, data}})},
      {"should have 24 bytes, the file has 20", legacy_file(small_state(), {{"0", 5, data.substr(4)}})},
      {"its storage \"0\" is not in the file", legacy_file(small_state(), {})},
      {"lists a storage \"1\" that no tensor uses", legacy_file(small_state(), {{"1", 6, data}})},
      {"lists storage \"0\" twice", legacy_file(small_state(), {{"0", 6, data}, {"0", 6, data}})},
      {"storage \"0\" is a view of another storage",
       legacy_file(state(tensor(storage_view, 0, {2, 3}, {3, 1})), {{"0", 6, data}})},
      {"asks for posix.system", legacy_file(state(call(global("posix", "system"), {text("ls")})), {{"0", 6, data}})},
      {"ends at byte", good.substr(0, good.size() - 30)},
      {"bytes follow, ", good.substr(0, 100)},
      {"a pickle without the mark of torch.save", small_state()},
      {"a version of the format before ZIP that is not known", good.substr(0, 15) + proto() + "M\xea\x03."},
  };
  for (const Refused& c : cases) {
    const std::string message = error_of(c.pickle);
    EXPECT_NE(message.find(c.error), std::string::npos) << c.error << "\n-> " << message;
    EXPECT_TRUE(message.starts_with("m.bin: ")) << message;
  }
}

TEST(TorchPickle, EveryTruncationIsAnError) {
  const std::string zip = torch_archive(small_state());
  for (std::size_t size = 0; size < zip.size(); ++size) EXPECT_NE(error_of(zip.substr(0, size)), "no error") << size;
  const std::string legacy = legacy_file(small_state(), {{"0", 6, std::string(24, 'y')}});
  for (std::size_t size = 0; size < legacy.size(); ++size) {
    EXPECT_NE(error_of(legacy.substr(0, size)), "no error") << size;
  }
}

TEST(TorchPickle, NotAFileOfTorch) {
  EXPECT_NE(error_of("").find("not written by torch.save"), std::string::npos);
  EXPECT_NE(error_of("hello").find("not written by torch.save"), std::string::npos);
  EXPECT_NE(error_of("version https://git-lfs.github.com/spec/v1\noid sha256:0").find("a pointer of Git LFS"),
            std::string::npos);
}

}  // namespace
}  // namespace octavo
