// A linked list of symbols and a heap of possible merges. Stale heap entries are recognised when they come up.
#include "octavo/text/bpe.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "octavo/base/text.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

// (left id, right id) -> rank and id of the merged token. Open addressing.
class PairTable {
 public:
  struct Merge {
    std::uint32_t rank = 0;
    std::int32_t id = -1;
  };

  explicit PairTable(std::size_t count) {
    std::size_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    slots_.resize(slots);
  }
  // A pair that comes again takes the later rank.
  void set(std::int32_t left, std::int32_t right, Merge merge) {
    Slot& slot = slots_[find_slot(key_of(left, right))];
    slot.key = key_of(left, right);
    slot.merge = merge;
  }
  const Merge* find(std::int32_t left, std::int32_t right) const {
    const Slot& slot = slots_[find_slot(key_of(left, right))];
    return slot.key == kFree ? nullptr : &slot.merge;
  }

 private:
  static constexpr std::uint64_t kFree = UINT64_MAX;  // ids are not negative
  struct Slot {
    std::uint64_t key = kFree;
    Merge merge;
  };
  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
  }
  std::size_t find_slot(std::uint64_t key) const {
    const std::size_t mask = slots_.size() - 1;
    // Multiplicative hashing (2^64 / golden ratio), the upper half is well mixed.
    std::size_t slot = static_cast<std::size_t>((key * 0x9E3779B97F4A7C15u) >> 32) & mask;
    while (slots_[slot].key != kFree && slots_[slot].key != key) slot = (slot + 1) & mask;
    return slot;
  }
  std::vector<Slot> slots_;
};

struct Symbol {
  std::int32_t id;  // -1: merged into its left neighbour
  std::int32_t previous, next;
};

struct Candidate {
  std::uint32_t rank;
  std::int32_t position;
  std::int32_t id;
  // std heaps keep the greatest on top.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

// Memory of one encode() call.
struct Scratch {
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::string affixed;
};

constexpr std::size_t kCachedWord = 256;  // longer words do not come again

class Bpe final : public Model {
 public:
  Bpe(const Vocabulary& vocabulary, PairTable merges, BpeOptions options)
      : vocabulary_(vocabulary), merges_(std::move(merges)), options_(std::move(options)) {
    plain_ = options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
    for (char32_t c = 0; c < low_.size(); ++c) {
      std::string text;
      append_utf8(text, c);
      low_[c] = vocabulary_.find(text).value_or(-1);
    }
    for (std::size_t byte = 0; byte < bytes_.size(); ++byte) {
      bytes_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
    }
    if (options_.unk_token) unk_ = vocabulary_.find(*options_.unk_token).value_or(-1);
  }

  Status encode(const Pieces& pieces, std::vector<std::int32_t>& ids) const override {
    Scratch scratch;
    std::unordered_map<std::string_view, std::pair<std::size_t, std::size_t>> seen;  // word -> range of `ids`
    for (const Span& span : pieces.spans) {
      if (span.token >= 0) {
        ids.push_back(span.token);
        continue;
      }
      const std::string_view word = pieces.of(span);
      if (word.size() > kCachedWord) {
        OCTAVO_TRY(encode_word(word, scratch, ids));
        continue;
      }
      const auto [entry, fresh] = seen.try_emplace(word, ids.size(), ids.size());
      if (fresh) {
        OCTAVO_TRY(encode_word(word, scratch, ids));
        entry->second.second = ids.size();
      } else {
        const auto [begin, end] = entry->second;
        for (std::size_t i = begin; i < end; ++i) ids.push_back(ids[i]);
      }
    }
    return {};
  }

 private:
  Status encode_word(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& ids) const {
    if (word.empty()) return {};
    if (word.size() > INT32_MAX) return failure("a word has {} bytes, more than can be encoded", word.size());
    if (options_.ignore_merges) {
      if (const auto id = vocabulary_.find_in_model(word)) {
        ids.push_back(*id);
        return {};
      }
    }
    OCTAVO_TRY(split(word, scratch));
    merge(scratch);
    for (const Symbol& s : scratch.symbols) {
      if (s.id >= 0) ids.push_back(s.id);
    }
    return {};
  }

  std::int32_t id_of(std::string_view character, bool first, bool last, Scratch& scratch) const {
    if (plain_) {
      const auto byte = static_cast<unsigned char>(character[0]);
      if (byte < 0x80) return low_[byte];
      if (byte < 0xC8) return low_[first_code_point(character).value];  // U+0080 .. U+01FF
      return vocabulary_.find_in_model(character).value_or(-1);
    }
    scratch.affixed.clear();
    if (!first) scratch.affixed += options_.continuing_subword_prefix;
    scratch.affixed += character;
    if (last) scratch.affixed += options_.end_of_word_suffix;
    return vocabulary_.find_in_model(scratch.affixed).value_or(-1);
  }

  // The word's characters as symbols.
  Status split(std::string_view word, Scratch& scratch) const {
    auto& symbols = scratch.symbols;
    symbols.clear();
    bool unknown = false;  // a run of unknown characters whose unk is still to be added
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t length = std::min(utf8_length_of(word[at]), word.size() - at);
      const std::string_view character = word.substr(at, length);
      const bool last = at + length == word.size();
      const std::int32_t id = id_of(character, at == 0, last, scratch);
      at += length;
      if (id >= 0) {
        if (unknown) add(symbols, unk_);
        unknown = false;
        add(symbols, id);
        continue;
      }
      if (options_.byte_fallback && add_bytes(plain_ ? character : std::string_view(scratch.affixed), symbols))
        continue;
      if (!options_.unk_token) continue;  // the library drops what it does not know then
      if (unk_ < 0) {
        return failure("unk_token \"{}\" is not in the vocabulary, and \"{}\" is unknown",
                       printable(*options_.unk_token), printable(character));
      }
      if (unknown && !options_.fuse_unk) add(symbols, unk_);
      unknown = true;
    }
    if (unknown) add(symbols, unk_);
    return {};
  }

  bool add_bytes(std::string_view text, std::vector<Symbol>& symbols) const {
    for (const char c : text) {
      if (bytes_[static_cast<unsigned char>(c)] < 0) return false;
    }
    for (const char c : text) add(symbols, bytes_[static_cast<unsigned char>(c)]);
    return true;
  }

  static void add(std::vector<Symbol>& symbols, std::int32_t id) {
    const auto at = static_cast<std::int32_t>(symbols.size());
    if (at > 0) symbols.back().next = at;
    symbols.push_back({id, at - 1, -1});
  }

  void merge(Scratch& scratch) const {
    auto& symbols = scratch.symbols;
    auto& heap = scratch.heap;
    heap.clear();
    const auto candidate = [&](std::int32_t left) -> const PairTable::Merge* {
      const Symbol& s = symbols[static_cast<std::size_t>(left)];
      return merges_.find(s.id, symbols[static_cast<std::size_t>(s.next)].id);
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto left = static_cast<std::int32_t>(i);
      if (const auto* m = candidate(left)) heap.push_back({m->rank, left, m->id});
    }
    std::make_heap(heap.begin(), heap.end());
    const auto push = [&](std::int32_t left) {
      if (const auto* m = candidate(left)) {
        heap.push_back({m->rank, left, m->id});
        std::push_heap(heap.begin(), heap.end());
      }
    };
    while (!heap.empty()) {
      const Candidate top = heap.front();
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
      Symbol& left = symbols[static_cast<std::size_t>(top.position)];
      if (left.id < 0 || left.next < 0) continue;
      const auto* m = candidate(top.position);
      if (m == nullptr || m->id != top.id) continue;  // the pair has changed since
      Symbol& right = symbols[static_cast<std::size_t>(left.next)];
      left.id = top.id;
      left.next = right.next;
      right.id = -1;
      if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = top.position;
      if (left.previous >= 0) push(left.previous);
      if (left.next >= 0) push(top.position);
    }
  }

  const Vocabulary& vocabulary_;
  PairTable merges_;
  BpeOptions options_;
  bool plain_ = true;  // neither prefix nor suffix
  std::int32_t unk_ = -1;
  std::array<std::int32_t, 512> low_{};  // ids of U+0000 .. U+01FF, where all byte-level characters are
  std::array<std::int32_t, 256> bytes_{};
};

}  // namespace

Status MergeList::add(std::string_view left, std::string_view right) {
  if (bytes_.size() + left.size() + right.size() > UINT32_MAX) return failure("the merges have more than 4 GB of text");
  const auto begin = static_cast<std::uint32_t>(bytes_.size());
  const auto middle = static_cast<std::uint32_t>(begin + left.size());
  entries_.push_back({begin, middle, static_cast<std::uint32_t>(middle + right.size())});
  bytes_ += left;
  bytes_ += right;
  return {};
}

Status MergeList::add_line(std::string_view line) {
  if (line.starts_with("#version")) return {};
  const std::size_t space = line.find(' ');
  if (space == line.npos || line.find(' ', space + 1) != line.npos) {
    return failure("\"{}\" is not two tokens with a space between them", printable(line));
  }
  return add(line.substr(0, space), line.substr(space + 1));
}

Result<std::unique_ptr<Model>> make_bpe(const Vocabulary& vocabulary, const MergeList& merges, BpeOptions options) {
  PairTable table(merges.size());
  std::string joined;
  const std::size_t prefix = options.continuing_subword_prefix.size();
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string_view left = merges.left(i), right = merges.right(i);
    const auto left_id = vocabulary.find(left), right_id = vocabulary.find(right);
    const auto fail = [&](std::string_view missing) {
      return failure("merge {} (\"{}\" and \"{}\"): \"{}\" is not in the vocabulary", i, printable(left),
                     printable(right), printable(missing));
    };
    if (!left_id) return fail(left);
    if (!right_id) return fail(right);
    joined = left;
    joined += right.substr(std::min(prefix, right.size()));
    const auto id = vocabulary.find(joined);
    if (!id) return fail(joined);
    table.set(*left_id, *right_id, {static_cast<std::uint32_t>(i), *id});
  }
  return std::unique_ptr<Model>(new Bpe(vocabulary, std::move(table), std::move(options)));
}

}  // namespace octavo::text
