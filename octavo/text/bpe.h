// Byte-pair encoding: the merge of lowest rank first, the leftmost of equals, as the tokenizers library does it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/text/model.h"

namespace octavo::text {

// Merges in order of rank, in one block of memory.
class MergeList {
 public:
  Status add(std::string_view left, std::string_view right);
  Status add_line(std::string_view line);  // "left right"; a line that begins with #version is skipped
  std::size_t size() const { return entries_.size(); }
  std::string_view left(std::size_t i) const { return part(entries_[i].begin, entries_[i].middle); }
  std::string_view right(std::size_t i) const { return part(entries_[i].middle, entries_[i].end); }

 private:
  struct Entry {
    std::uint32_t begin, middle, end;
  };
  std::string_view part(std::uint32_t from, std::uint32_t to) const {
    return std::string_view(bytes_).substr(from, to - from);
  }
  std::string bytes_;
  std::vector<Entry> entries_;
};

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;  // of every character but a word's first
  std::string end_of_word_suffix;         // of a word's last character
  bool fuse_unk = false;                  // one unk for a run of unknown characters
  bool byte_fallback = false;             // <0x41> tokens for the bytes of an unknown character
  bool ignore_merges = false;             // a word that is a token needs no merges
};

// `vocabulary` must outlive the model. An error names the merge that is not in the vocabulary.
// O(n log n) in the length of a word; words are cached within one call of encode().
Result<std::unique_ptr<Model>> make_bpe(const Vocabulary& vocabulary, const MergeList& merges, BpeOptions options);

}  // namespace octavo::text
