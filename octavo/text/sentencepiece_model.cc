// A reader of the protobuf wire format for one message.
#include "octavo/text/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <functional>

#include "octavo/base/text.h"
#include "octavo/text/utf8.h"
#include "octavo/text/vocabulary.h"

namespace octavo::text {
namespace {

struct Field {
  std::uint32_t number = 0;
  std::uint64_t value = 0;   // of a varint or a fixed-size field
  std::string_view content;  // of a length-delimited field
  bool delimited = false;
  bool flag() const { return value != 0; }
};

constexpr std::string_view kCut = "is no SentencePiece model: the protobuf is damaged";

Result<std::uint64_t> read_varint(std::string_view& in) {
  std::uint64_t out = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (in.empty()) return failure("{}", kCut);
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    out |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return out;
  }
  return failure("{}", kCut);
}

Result<std::uint64_t> read_fixed(std::string_view& in, std::size_t bytes) {
  if (in.size() < bytes) return failure("{}", kCut);
  std::uint64_t out = 0;
  for (std::size_t i = 0; i < bytes; ++i)
    out |= static_cast<std::uint64_t>(static_cast<unsigned char>(in[i])) << (8 * i);
  in.remove_prefix(bytes);
  return out;
}

// take(field) for every field of the message.
Status read_message(std::string_view in, const std::function<Status(const Field&)>& take) {
  while (!in.empty()) {
    OCTAVO_ASSIGN(const std::uint64_t key, read_varint(in));
    Field field;
    if ((key >> 3) == 0 || (key >> 3) > UINT32_MAX) return failure("{}", kCut);
    field.number = static_cast<std::uint32_t>(key >> 3);
    switch (key & 7) {
      case 0: {
        OCTAVO_ASSIGN(field.value, read_varint(in));
        break;
      }
      case 1: {
        OCTAVO_ASSIGN(field.value, read_fixed(in, 8));
        break;
      }
      case 2: {
        OCTAVO_ASSIGN(const std::uint64_t length, read_varint(in));
        if (length > in.size()) return failure("{}", kCut);
        field.content = in.substr(0, length);
        field.delimited = true;
        in.remove_prefix(length);
        break;
      }
      case 5: {
        OCTAVO_ASSIGN(field.value, read_fixed(in, 4));
        break;
      }
      default: return failure("{}", kCut);
    }
    OCTAVO_TRY(take(field));
  }
  return {};
}

Result<SentencePiece> read_piece(std::string_view bytes, std::size_t id) {
  SentencePiece piece;
  OCTAVO_TRY(read_message(bytes, [&](const Field& f) -> Status {
    if (f.number == 1) piece.text = f.content;
    if (f.number == 2) piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(f.value));
    if (f.number == 3) {
      if (f.value < 1 || f.value > 6) return failure("piece {} has the unknown type {}", id, f.value);
      piece.type = static_cast<PieceType>(f.value);
    }
    return {};
  }));
  if (piece.text.empty()) return failure("piece {} is empty", id);
  if (invalid_utf8_offset(piece.text)) return failure("piece {} is not valid UTF-8", id);
  if (!std::isfinite(piece.score)) return failure("piece {} has a score that is not finite", id);
  return piece;
}

}  // namespace

Result<SentencePieceModel> parse_sentencepiece_model(std::string_view bytes) {
  SentencePieceModel model;
  const auto trainer = [&](const Field& f) -> Status {
    switch (f.number) {
      case 3:
        if (f.value < 1 || f.value > 4) return failure("trainer_spec.model_type {} is unknown", f.value);
        model.type = static_cast<SentencePieceModel::Type>(f.value);
        break;
      case 24: model.whitespace_as_suffix = f.flag(); break;
      case 35: model.byte_fallback = f.flag(); break;
      case 44: model.unk_surface = f.content; break;
      case 46: model.bos_piece = f.content; break;
      case 47: model.eos_piece = f.content; break;
      default: break;
    }
    return {};
  };
  const auto normalizer = [&](const Field& f) -> Status {
    switch (f.number) {
      case 2: model.charsmap = f.content; break;
      case 3: model.add_dummy_prefix = f.flag(); break;
      case 4: model.remove_extra_whitespaces = f.flag(); break;
      case 5: model.escape_whitespaces = f.flag(); break;
      default: break;
    }
    return {};
  };
  OCTAVO_TRY(read_message(bytes, [&](const Field& f) -> Status {
    if (f.number >= 1 && f.number <= 5 && !f.delimited) return failure("{}", kCut);
    switch (f.number) {
      case 1: {
        const std::size_t id = model.pieces.size();
        if (id > static_cast<std::size_t>(kMaxTokenId))
          return failure("there are more than {} pieces", kMaxTokenId + 1);
        OCTAVO_ASSIGN(SentencePiece piece, read_piece(f.content, id));
        model.pieces.push_back(std::move(piece));
        break;
      }
      case 2: return read_message(f.content, trainer);
      case 3: return read_message(f.content, normalizer);
      case 5:
        return read_message(f.content, [&](const Field& d) -> Status {
          if (d.number == 2 && !d.content.empty()) model.has_denormalizer = true;
          return {};
        });
      default: break;
    }
    return {};
  }));
  if (model.pieces.empty()) return failure("{}", kCut);
  if (invalid_utf8_offset(model.unk_surface)) return failure("trainer_spec.unk_surface is not valid UTF-8");
  return model;
}

}  // namespace octavo::text
