// From text to ids.
#include "octavo/text/pipeline.h"

namespace octavo::text {

Result<std::vector<std::int32_t>> Pipeline::encode(std::string_view text, bool add_special) const {
  Pieces pieces;
  pieces.text = text;
  if (!text.empty()) pieces.spans.push_back({0, text.size(), -1, true});
  added.split(pieces, /*normalized=*/false);
  if (!normalizer.empty()) {
    Pieces after;
    for (const Span& span : pieces.spans) {
      std::string part(pieces.of(span));
      Span moved = span;
      if (span.token < 0) OCTAVO_TRY(normalizer.apply(part, moved.at_start));
      moved.begin = after.text.size();
      after.text += part;
      moved.end = after.text.size();
      if (moved.token >= 0 || moved.begin < moved.end) after.spans.push_back(moved);
    }
    pieces = std::move(after);
  }
  added.split(pieces, /*normalized=*/true);
  OCTAVO_TRY(pre_tokenizer.apply(pieces));
  std::vector<std::int32_t> ids;
  ids.reserve(pieces.spans.size() + 2);
  OCTAVO_TRY(model->encode(pieces, ids));
  post_processor.apply(ids, add_special);
  return ids;
}

}  // namespace octavo::text
