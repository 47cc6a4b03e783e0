// The output head made FP8 on the way into memory (HeadMode::kFp8, `--lm-head fp8`): the encoding of
// `octavo quantize --scheme dynamic --lm-head`, whatever the rest of the model is. E4M3, one scale an output channel,
// the scale stored in BF16 (F32 for F16 sources), F32 sources rounded to BF16 first; with W8A8 inputs per token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/base/cpu.h"
#include "octavo/base/scratch.h"
#include "octavo/model/weights.h"
#include "octavo/quant/encode_piece.h"

namespace octavo::model {

// `stored`: BF16, F16 or F32, [n, k].
quant::WeightEncoding fp8_head_encoding(const backend::LinearSpec& stored);
backend::LinearSpec fp8_head_spec(const backend::LinearSpec& stored, ActivationMode activations);

// Encodes rows of a head and packs them: beside its arguments it holds the scales and, a worker, a piece's codes.
class Fp8HeadEncoder {
 public:
  // `head` was created with fp8_head_spec(stored, ...); it and the backend must outlive this.
  Fp8HeadEncoder(backend::Backend& backend, Isa isa, int workers, const backend::LinearSpec& stored,
                 LinearWeight& head);

  // Rows from `row` on, whole and aligned to their elements; changed in place. From several threads at once, on rows
  // of their own. What it returns is the first value that is not finite, its row counted from `row`: nothing is
  // packed then.
  std::optional<quant::NonFiniteAt> encode(std::uint64_t row, std::span<std::byte> values, int worker);
  // After all rows.
  void finish() { backend_.set_scales(head_, scales_); }

 private:
  backend::Backend& backend_;
  const Isa isa_;
  const backend::LinearSpec stored_;
  const quant::WeightEncoding encoding_;
  LinearWeight& head_;
  std::vector<float> scales_;                 // [n]
  std::vector<Scratch<std::uint8_t>> codes_;  // by worker
};

}  // namespace octavo::model
