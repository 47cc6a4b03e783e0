// One id at a time through the decoder.
#include "octavo/text/detokenizer.h"

#include "octavo/text/pipeline.h"

namespace octavo::text {

IncrementalDetokenizer::IncrementalDetokenizer(Tokenizer tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)),
      stream_(tokenizer_.pipeline_->decoder->start(/*eager=*/true)),
      skip_special_(skip_special) {}
IncrementalDetokenizer::~IncrementalDetokenizer() = default;
IncrementalDetokenizer::IncrementalDetokenizer(IncrementalDetokenizer&&) noexcept = default;
IncrementalDetokenizer& IncrementalDetokenizer::operator=(IncrementalDetokenizer&&) noexcept = default;

std::string IncrementalDetokenizer::push(std::int32_t id) {
  std::string out;
  const Pipeline& pipeline = *tokenizer_.pipeline_;
  if (!pipeline.vocabulary.has(id) || (skip_special_ && pipeline.is_skipped(id))) return out;
  stream_->push(id, pipeline.decoded(id), out);
  return out;
}

std::string IncrementalDetokenizer::finish() {
  std::string out;
  stream_->finish(out);
  return out;
}

}  // namespace octavo::text
