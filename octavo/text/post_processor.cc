// Templates for one text; those for pairs are not read.
#include "octavo/text/post_processor.h"

#include "octavo/base/text.h"

namespace octavo::text {
namespace {

constexpr int kMaxNesting = 16;
constexpr std::size_t kMaxPieces = 256;  // of one template: each may repeat the text

Result<std::int32_t> parse_id(const JsonField& field, const Vocabulary& vocabulary) {
  OCTAVO_ASSIGN(const std::int64_t id, field.integer(0, kMaxTokenId));
  if (!vocabulary.has(id)) return field.error("{} is the id of no token", id);
  return static_cast<std::int32_t>(id);
}

// ["[SEP]", 102]
Result<std::int32_t> parse_pair(const JsonField& field, const Vocabulary& vocabulary) {
  OCTAVO_ASSIGN(const auto items, field.items());
  if (items.size() != 2) return field.error("must be a token and its id");
  return parse_id(items[1], vocabulary);
}

Result<PostProcessor::Template> parse_template(const JsonField& field, const Vocabulary& vocabulary) {
  OCTAVO_ASSIGN(const JsonField single, field.member("single"));
  OCTAVO_ASSIGN(const auto pieces, single.items());
  if (pieces.size() > kMaxPieces) return single.error("has {} pieces; {} is the most", pieces.size(), kMaxPieces);
  PostProcessor::Template out;
  std::size_t texts = 0;
  for (const JsonField& piece : pieces) {
    if (const auto sequence = piece.find("Sequence")) {
      OCTAVO_ASSIGN(const std::string id, sequence->string("id"));
      if (id != "A") return sequence->error("sequence \"{}\" in a template for one text", printable(id));
      if (++texts > 1) return sequence->error("the text stands in the template twice");
      out.emplace_back();
      continue;
    }
    const auto special = piece.find("SpecialToken");
    if (!special) return piece.error("must be a Sequence or a SpecialToken");
    OCTAVO_ASSIGN(const std::string name, special->string("id"));
    OCTAVO_ASSIGN(const JsonField tokens, field.member("special_tokens"));
    const auto token = tokens.find(name);
    if (!token) return special->error("\"{}\" is not among the template's special_tokens", printable(name));
    OCTAVO_ASSIGN(const JsonField list, token->member("ids"));
    OCTAVO_ASSIGN(const auto ids, list.items());
    if (ids.empty()) continue;
    std::vector<std::int32_t>& item = out.emplace_back();
    for (const JsonField& id : ids) {
      OCTAVO_ASSIGN(const std::int32_t value, parse_id(id, vocabulary));
      item.push_back(value);
    }
  }
  return out;
}

Status parse_into(const JsonField& field, const Vocabulary& vocabulary, PostProcessor& out, int depth) {
  if (depth > kMaxNesting) return field.error("post-processors are nested deeper than {}", kMaxNesting);
  OCTAVO_ASSIGN(const std::string type, field.type());
  if (type == "Sequence") {
    OCTAVO_ASSIGN(const JsonField list, field.member("processors"));
    OCTAVO_ASSIGN(const auto items, list.items());
    for (const JsonField& item : items) OCTAVO_TRY(parse_into(item, vocabulary, out, depth + 1));
    return {};
  }
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") {
    OCTAVO_ASSIGN(PostProcessor::Template form, parse_template(field, vocabulary));
    out.add(std::move(form));
    return {};
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    OCTAVO_ASSIGN(const JsonField cls_field, field.member("cls"));
    OCTAVO_ASSIGN(const JsonField sep_field, field.member("sep"));
    OCTAVO_ASSIGN(const std::int32_t cls, parse_pair(cls_field, vocabulary));
    OCTAVO_ASSIGN(const std::int32_t sep, parse_pair(sep_field, vocabulary));
    out.add({{cls}, {}, {sep}});
    return {};
  }
  return field.error("the post-processor \"{}\" is not supported", printable(type));
}

}  // namespace

bool PostProcessor::adds_specials() const {
  for (const Template& form : templates_) {
    for (const auto& item : form) {
      if (!item.empty()) return true;
    }
  }
  return false;
}

void PostProcessor::apply(std::vector<std::int32_t>& ids, bool add_special) const {
  for (const Template& form : templates_) {
    std::vector<std::int32_t> out;
    out.reserve(ids.size() + form.size());
    for (const auto& item : form) {
      if (item.empty()) {
        out.insert(out.end(), ids.begin(), ids.end());
      } else if (add_special) {
        out.insert(out.end(), item.begin(), item.end());
      }
    }
    ids = std::move(out);
  }
}

Result<PostProcessor> parse_post_processor(const JsonField& field, const Vocabulary& vocabulary) {
  PostProcessor out;
  if (field.json().is_null()) return out;
  OCTAVO_TRY(parse_into(field, vocabulary, out, 0));
  return out;
}

}  // namespace octavo::text
