// The opcodes, as CPython's Lib/pickletools.py describes them, and what the allowed callables build.
#include "octavo/checkpoint/torch/unpickler.h"

#include <algorithm>
#include <limits>

#include "octavo/base/text.h"

namespace octavo {
namespace {

using Kind = PickleValue::Kind;

enum Opcode : std::uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kEmptyList = ']',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyTuple = ')',
  kEmptyDict = '}',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

// Opcodes that are known and refused: why is said by their names.
std::string_view refused_opcode(std::uint8_t opcode) {
  switch (opcode) {
    case 'i': return "INST";
    case 'o': return "OBJ";
    case 0x81: return "NEWOBJ";
    case 0x92: return "NEWOBJ_EX";
    case 0x82: return "EXT1";
    case 0x83: return "EXT2";
    case 0x84: return "EXT4";
    case 'P': return "PERSID";
    case '2': return "DUP";
    case 'I': return "INT";
    case 'L': return "LONG";
    case 'F': return "FLOAT";
    case 'S': return "STRING";
    case 'V': return "UNICODE";
    case 'p': return "PUT";
    case 'g': return "GET";
    case 'd': return "DICT";
    case 'l': return "LIST";
    case 0x8f: return "EMPTY_SET";
    case 0x90: return "ADDITEMS";
    case 0x91: return "FROZENSET";
    case 0x96: return "BYTEARRAY8";
    case 0x97: return "NEXT_BUFFER";
    case 0x98: return "READONLY_BUFFER";
    default: return "";
  }
}

PickleValue value(Kind kind, std::size_t at = 0, std::int64_t number = 0) {
  return {kind, static_cast<std::uint32_t>(at), number};  // pools have far less than 2^32 places
}

constexpr std::size_t kMaxDimensions = 64;  // PyTorch's

}  // namespace

std::string_view pickle_kind_name(Kind kind) {
  switch (kind) {
    case Kind::kNone: return "None";
    case Kind::kBool: return "a boolean";
    case Kind::kInt:
    case Kind::kLong:
    case Kind::kFloat: return "a number";
    case Kind::kString: return "a string";
    case Kind::kBytes: return "bytes";
    case Kind::kTuple: return "a tuple";
    case Kind::kList: return "a list";
    case Kind::kDict: return "a dict";
    case Kind::kGlobal: return "a type";
    case Kind::kStorage: return "a storage";
    case Kind::kTensor: return "a tensor";
    case Kind::kDevice: return "a device";
  }
  return "a value";
}

Result<PickleValue> Unpickler::load(PickleInput& input) {
  stack_.clear();
  marks_.clear();
  memo_.clear();
  for (;;) {
    const std::uint64_t at = input.position();
    const auto place = [&](Error error) { return std::move(error).context(fmt::format("byte {}", at)); };
    const auto opcode = input.byte();
    if (!opcode.ok()) return place(opcode.error());
    if (*opcode == kStop) {
      if (stack_.size() != 1 || !marks_.empty()) return place(failure("the pickle ends with {} values", stack_.size()));
      return stack_.back();
    }
    if (auto status = step(*opcode, input); !status.ok()) return place(std::move(status).error());
  }
}

Status Unpickler::step(std::uint8_t opcode, PickleInput& input) {
  const auto number = [&](std::size_t width) { return input.little(width); };
  switch (opcode) {
    case kProto: {
      OCTAVO_ASSIGN(const std::uint64_t protocol, number(1));
      if (protocol > 5) return failure("pickle protocol {} is not known (those up to 5 are)", protocol);
      return {};
    }
    case kFrame: {
      OCTAVO_ASSIGN([[maybe_unused]] const std::uint64_t bytes, number(8));
      return {};
    }
    case kMark:
      if (marks_.size() == kMaxPickleMarks) return failure("more than {} nested containers", kMaxPickleMarks);
      marks_.push_back(stack_.size());
      return {};
    case kPop: {
      OCTAVO_ASSIGN([[maybe_unused]] const PickleValue top, pop());
      return {};
    }
    case kPopMark: {
      OCTAVO_ASSIGN(const std::size_t count, pop_mark());
      stack_.resize(stack_.size() - count);
      return {};
    }
    case kNone: return push(value(Kind::kNone));
    case kNewTrue: return push(value(Kind::kBool, 0, 1));
    case kNewFalse: return push(value(Kind::kBool, 0, 0));
    case kBinInt: {
      OCTAVO_ASSIGN(const std::uint64_t bits, number(4));
      return push(value(Kind::kInt, 0, static_cast<std::int32_t>(bits)));
    }
    case kBinInt1:
    case kBinInt2: {
      OCTAVO_ASSIGN(const std::uint64_t bits, number(opcode == kBinInt1 ? 1 : 2));
      return push(value(Kind::kInt, 0, static_cast<std::int64_t>(bits)));
    }
    case kLong1: return push_long(input, 1);
    case kLong4: return push_long(input, 4);
    case kBinFloat: {
      OCTAVO_ASSIGN([[maybe_unused]] const std::uint64_t bits, number(8));
      return push(value(Kind::kFloat));
    }
    case kShortBinUnicode:
    case kShortBinString: return push_string(input, 1, Kind::kString);
    case kBinUnicode:
    case kBinString: return push_string(input, 4, Kind::kString);
    case kBinUnicode8: return push_string(input, 8, Kind::kString);
    case kShortBinBytes: return push_string(input, 1, Kind::kBytes);
    case kBinBytes: return push_string(input, 4, Kind::kBytes);
    case kBinBytes8: return push_string(input, 8, Kind::kBytes);
    case kEmptyTuple: return push_tuple(0);
    case kTuple1: return push_tuple(1);
    case kTuple2: return push_tuple(2);
    case kTuple3: return push_tuple(3);
    case kTuple: {
      OCTAVO_ASSIGN(const std::size_t count, pop_mark());
      return push_tuple(count);
    }
    case kEmptyList:
      OCTAVO_TRY(count_values(1));
      heap_.lists_.emplace_back();
      return push(value(Kind::kList, heap_.lists_.size() - 1));
    case kEmptyDict:
      OCTAVO_TRY(count_values(1));
      heap_.dicts_.emplace_back();
      return push(value(Kind::kDict, heap_.dicts_.size() - 1));
    case kAppend: return append_items(1);
    case kAppends: {
      OCTAVO_ASSIGN(const std::size_t count, pop_mark());
      return append_items(count);
    }
    case kSetItem: return set_items(2);
    case kSetItems: {
      OCTAVO_ASSIGN(const std::size_t count, pop_mark());
      return set_items(count);
    }
    case kBinPut:
    case kLongBinPut: {
      OCTAVO_ASSIGN(const std::uint64_t place, number(opcode == kBinPut ? 1 : 4));
      return remember(place);
    }
    case kMemoize: return remember(memo_.size());
    case kBinGet:
    case kLongBinGet: {
      OCTAVO_ASSIGN(const std::uint64_t place, number(opcode == kBinGet ? 1 : 4));
      return recall(place);
    }
    case kGlobal: {
      OCTAVO_ASSIGN(const std::string module, input.line());
      OCTAVO_ASSIGN(const std::string name, input.line());
      return push_global(module, name);
    }
    case kStackGlobal: {
      OCTAVO_ASSIGN(const PickleValue name, pop());
      OCTAVO_ASSIGN(const PickleValue module, pop());
      if (name.kind != Kind::kString || module.kind != Kind::kString) return failure("a global without a name");
      return push_global(heap_.text(module), heap_.text(name));
    }
    case kBinPersId: return persistent();
    case kReduce: return reduce();
    case kBuild: return build();
    default: break;
  }
  const std::string_view name = refused_opcode(opcode);
  if (opcode == 'i') {  // says what it would call
    OCTAVO_ASSIGN(const std::string module, input.line());
    OCTAVO_ASSIGN(const std::string global, input.line());
    return failure("asks for {}.{} by {}: from a pickle only tensors are built, and nothing is run", printable(module),
                   printable(global), name);
  }
  if (name.empty()) return failure("0x{:02x} is no opcode of a pickle", opcode);
  return failure("{} is no opcode that pickled tensors need: from a pickle only tensors are built", name);
}

Status Unpickler::push(PickleValue pushed) {
  if (stack_.size() == kMaxPickleStack) return failure("more than {} values on the stack", kMaxPickleStack);
  stack_.push_back(pushed);
  return {};
}

Result<PickleValue> Unpickler::pop() {
  if (available() == 0) return failure("a value is missing on the stack");
  const PickleValue top = stack_.back();
  stack_.pop_back();
  return top;
}

Result<std::size_t> Unpickler::pop_mark() {
  if (marks_.empty()) return failure("a mark is missing on the stack");
  const std::size_t count = available();
  marks_.pop_back();
  return count;
}

Status Unpickler::count_values(std::size_t more) {
  values_ += more;  // at most the stack's limit at once
  if (values_ > kMaxPickleValues) return failure("more than {} values", kMaxPickleValues);
  return {};
}

Status Unpickler::push_string(PickleInput& input, std::size_t width, Kind kind) {
  OCTAVO_ASSIGN(const std::uint64_t bytes, input.little(width));
  const std::size_t at = heap_.text_.size();
  OCTAVO_TRY(input.append(heap_.text_, bytes));
  return push(value(kind, at, static_cast<std::int64_t>(bytes)));
}

Status Unpickler::push_long(PickleInput& input, std::size_t width) {
  OCTAVO_ASSIGN(const std::uint64_t bytes, input.little(width));
  if (bytes > 8) {
    const std::size_t at = heap_.text_.size();
    OCTAVO_TRY(input.append(heap_.text_, bytes));
    return push(value(Kind::kLong, at, static_cast<std::int64_t>(bytes)));
  }
  OCTAVO_ASSIGN(std::uint64_t bits, input.little(bytes));
  const bool negative = bytes > 0 && (bits >> (8 * bytes - 1) & 1) != 0;
  if (negative && bytes < 8) bits |= ~std::uint64_t{0} << (8 * bytes);
  return push(value(Kind::kInt, 0, static_cast<std::int64_t>(bits)));
}

Status Unpickler::push_tuple(std::size_t count) {
  if (available() < count) return failure("a value is missing on the stack");
  OCTAVO_TRY(count_values(count + 1));
  const std::size_t at = heap_.items_.size();
  const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
  heap_.items_.insert(heap_.items_.end(), first, stack_.end());
  stack_.erase(first, stack_.end());
  return push(value(Kind::kTuple, at, static_cast<std::int64_t>(count)));
}

Status Unpickler::push_global(std::string_view module, std::string_view name) {
  const PickleGlobal* global = find_pickle_global(module, name);
  if (global == nullptr && module == "torch") {
    return failure("asks for torch.{}: not among the types of tensors that are read", printable(name));
  }
  if (global == nullptr) {
    return failure("asks for {}.{}: from a pickle only tensors are built, and nothing is run", printable(module),
                   printable(name));
  }
  const auto known = std::find(heap_.globals_.begin(), heap_.globals_.end(), global);
  const auto at = static_cast<std::size_t>(known - heap_.globals_.begin());
  if (known == heap_.globals_.end()) heap_.globals_.push_back(global);
  return push(value(Kind::kGlobal, at));
}

Status Unpickler::remember(std::uint64_t place) {
  constexpr std::uint64_t kGap = 1024;  // writers number what they remember in order
  if (available() == 0) return failure("a value is missing on the stack");
  if (place > memo_.size() + kGap) return failure("remembers value {} after only {}", place, memo_.size());
  if (place >= memo_.size()) {
    OCTAVO_TRY(count_values(place + 1 - memo_.size()));
    memo_.resize(place + 1);
  }
  memo_[place] = stack_.back();
  return {};
}

Status Unpickler::recall(std::uint64_t place) {
  if (place >= memo_.size() || !memo_[place]) return failure("asks for value {}, which was not remembered", place);
  return push(*memo_[place]);
}

Status Unpickler::append_items(std::size_t count) {
  if (available() < count + 1) return failure("a value is missing on the stack");
  const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
  const PickleValue target = *(first - 1);
  if (target.kind != Kind::kList) return failure("appends to {}", pickle_kind_name(target.kind));
  OCTAVO_TRY(count_values(count));
  auto& list = heap_.lists_[target.at];
  list.insert(list.end(), first, stack_.end());
  stack_.erase(first, stack_.end());
  return {};
}

Status Unpickler::set_items(std::size_t count) {
  if (count % 2 != 0) return failure("a key without a value");
  if (available() < count + 1) return failure("a value is missing on the stack");
  const std::size_t first = stack_.size() - count;
  const PickleValue target = stack_[first - 1];
  if (target.kind != Kind::kDict) return failure("sets an item of {}", pickle_kind_name(target.kind));
  OCTAVO_TRY(count_values(count));
  auto& dict = heap_.dicts_[target.at];
  for (std::size_t i = first; i < stack_.size(); i += 2) dict.emplace_back(stack_[i], stack_[i + 1]);
  stack_.resize(first);
  return {};
}

// A state dict has attributes beside its items (_metadata: the versions of its modules). They are no tensors.
Status Unpickler::build() {
  OCTAVO_ASSIGN(const PickleValue state, pop());
  if (available() == 0) return failure("a value is missing on the stack");
  if (stack_.back().kind != Kind::kDict || state.kind != Kind::kDict) {
    return failure("sets the state of {} from {}", pickle_kind_name(stack_.back().kind), pickle_kind_name(state.kind));
  }
  return {};
}

// ("storage", type, key, location, elements), in the old format with a view as sixth.
Status Unpickler::persistent() {
  OCTAVO_ASSIGN(const PickleValue id, pop());
  if (id.kind != Kind::kTuple) return failure("refers to {} outside the pickle", pickle_kind_name(id.kind));
  const auto parts = heap_.tuple(id);
  if (parts.empty() || parts[0].kind != Kind::kString) return failure("refers to something without a kind");
  if (const std::string_view what = heap_.text(parts[0]); what != "storage") {
    return failure("refers to a \"{}\" outside the pickle, only storages are known", printable(what));
  }
  const bool sound = (parts.size() == 5 || parts.size() == 6) && parts[1].kind == Kind::kGlobal &&
                     heap_.global(parts[1]).storage && parts[2].kind == Kind::kString && parts[4].kind == Kind::kInt &&
                     parts[4].number >= 0;
  if (!sound) return failure("refers to a storage in an unknown way");
  if (parts.size() == 6 && parts[5].kind != Kind::kNone) {
    return failure("storage \"{}\" is a view of another storage, as only old versions of PyTorch wrote",
                   printable(heap_.text(parts[2])));
  }
  OCTAVO_TRY(count_values(1));
  heap_.storages_.push_back({heap_.global(parts[1]).dtype, parts[2], static_cast<std::uint64_t>(parts[4].number)});
  return push(value(Kind::kStorage, heap_.storages_.size() - 1));
}

Status Unpickler::reduce() {
  OCTAVO_ASSIGN(const PickleValue arguments, pop());
  OCTAVO_ASSIGN(const PickleValue callable, pop());
  if (arguments.kind != Kind::kTuple || callable.kind != Kind::kGlobal) {
    return failure("calls {} with {}", pickle_kind_name(callable.kind), pickle_kind_name(arguments.kind));
  }
  const PickleGlobal& global = heap_.global(callable);
  const auto given = heap_.tuple(arguments);
  const auto misused = [&] { return failure("{}.{} has unexpected arguments", global.module, global.name); };
  switch (global.callable) {
    case PickleCallable::kNone: return failure("calls {}.{}, which is no function here", global.module, global.name);
    case PickleCallable::kOrderedDict: return make_ordered_dict(arguments);
    case PickleCallable::kSize:
      if (given.size() != 1 || given[0].kind != Kind::kTuple) return misused();
      return push(given[0]);
    case PickleCallable::kDevice: return push(value(Kind::kDevice));
    case PickleCallable::kRebuildParameter:
    case PickleCallable::kRebuildParameterWithState: {
      const std::size_t count = global.callable == PickleCallable::kRebuildParameter ? 3 : 4;
      if (given.size() != count || given[0].kind != Kind::kTensor) return misused();
      return push(given[0]);
    }
    case PickleCallable::kRebuildTensor:
    case PickleCallable::kRebuildTensorV2:
    case PickleCallable::kRebuildTensorV3: return make_tensor(global, arguments);
  }
  return misused();
}

// OrderedDict(), or as Python 2 wrote it OrderedDict([[key, value], ...]).
Status Unpickler::make_ordered_dict(PickleValue arguments) {
  OCTAVO_TRY(count_values(1));
  std::vector<PickleHeap::Pair> pairs;
  const auto given = heap_.tuple(arguments);
  if (given.size() > 1 || (given.size() == 1 && given[0].kind != Kind::kList)) {
    return failure("collections.OrderedDict has unexpected arguments");
  }
  if (given.size() == 1) {
    const auto& items = heap_.list(given[0]);
    OCTAVO_TRY(count_values(2 * items.size()));
    for (const PickleValue& item : items) {
      std::span<const PickleValue> pair;
      if (item.kind == Kind::kTuple) pair = heap_.tuple(item);
      if (item.kind == Kind::kList) pair = heap_.list(item);
      if (pair.size() != 2) return failure("collections.OrderedDict has an item that is no pair");
      pairs.emplace_back(pair[0], pair[1]);
    }
  }
  heap_.dicts_.push_back(std::move(pairs));
  return push(value(Kind::kDict, heap_.dicts_.size() - 1));
}

// _rebuild_tensor(storage, offset, shape, strides), v2: requires_grad, hooks, metadata behind; v3: dtype before
// metadata.
Status Unpickler::make_tensor(const PickleGlobal& how, PickleValue arguments) {
  const auto given = heap_.tuple(arguments);
  const bool v1 = how.callable == PickleCallable::kRebuildTensor;
  const bool v3 = how.callable == PickleCallable::kRebuildTensorV3;
  const std::size_t least = v1 ? 4 : v3 ? 7 : 6;
  const auto misused = [&](std::string_view what) { return failure("{}.{}: {}", how.module, how.name, what); };
  if (given.size() < least || given.size() > (v1 ? least : least + 1)) return misused("unexpected arguments");
  if (given[0].kind != Kind::kStorage) return misused("the first argument is no storage");
  if (given[1].kind != Kind::kInt || given[1].number < 0) return misused("the offset is no number of at least 0");
  for (const PickleValue& sizes : {given[2], given[3]}) {
    if (sizes.kind != Kind::kTuple) return misused("shape and strides are no tuples");
    if (sizes.number > static_cast<std::int64_t>(kMaxDimensions)) {
      return misused(fmt::format("more than {} dimensions", kMaxDimensions));
    }
    for (const PickleValue& size : heap_.tuple(sizes)) {
      if (size.kind != Kind::kInt || size.number < 0) return misused("shape and strides are no numbers of at least 0");
    }
  }
  if (given[2].number != given[3].number) return misused("shape and strides differ in length");
  // What metadata can say (a conjugate, a negated view) changes the values.
  if (given.size() > least) {
    const PickleValue metadata = given[least];
    const bool none = metadata.kind == Kind::kNone || (metadata.kind == Kind::kDict && heap_.dict(metadata).empty());
    if (!none) return misused("a tensor with metadata (a conjugate or negated view)");
  }
  std::optional<DType> dtype = heap_.storage(given[0].at).dtype;
  if (v3) {
    if (given[6].kind != Kind::kGlobal || heap_.global(given[6]).storage || !heap_.global(given[6]).dtype) {
      return misused("the dtype is none");
    }
    dtype = heap_.global(given[6]).dtype;
  }
  if (!dtype) return misused("the dtype is not said");
  OCTAVO_TRY(count_values(1));
  heap_.tensors_.push_back({given[0].at, *dtype, static_cast<std::uint64_t>(given[1].number), given[2], given[3]});
  return push(value(Kind::kTensor, heap_.tensors_.size() - 1));
}

}  // namespace octavo
