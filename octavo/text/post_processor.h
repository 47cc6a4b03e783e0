// The `post_processor` of a tokenizer.json: BOS, EOS and the like around the ids of a text.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/text/json_field.h"
#include "octavo/text/vocabulary.h"

namespace octavo::text {

class PostProcessor {
 public:
  // What stands around a text; an item without ids is the text.
  using Template = std::vector<std::vector<std::int32_t>>;
  void add(Template form) { templates_.push_back(std::move(form)); }

  // Whether it could add a special token at all.
  bool adds_specials() const;
  // Whether the file has a template, be it an empty one.
  bool has_template() const { return !templates_.empty(); }
  void apply(std::vector<std::int32_t>& ids, bool add_special) const;

 private:
  std::vector<Template> templates_;  // applied one after the other
};

// TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (which concerns offsets only), Sequence.
Result<PostProcessor> parse_post_processor(const JsonField& field, const Vocabulary& vocabulary);

}  // namespace octavo::text
