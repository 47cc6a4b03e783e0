// Lines of JSON to token ids.
#include "cli/score_input.h"

#include <algorithm>
#include <array>
#include <istream>
#include <string>

#include "octavo/base/json.h"
#include "octavo/base/text.h"

namespace octavo::cli {
namespace {

using Tokens = std::vector<std::int32_t>;

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys = {"text", "token_ids", "bos", "max_tokens"};
  return keys;
}

class LineReader {
 public:
  LineReader(const engine::RunnerFolder& folder, std::uint64_t context) : folder_(folder), context_(context) {}

  Result<Tokens> read(const Json& line) const {
    if (!line.is_object())
      return failure("must be an object such as {{\"text\": \"...\"}}, not {}", json_type_name(line));
    for (const auto& [key, value] : line.items()) {
      const auto& known = known_keys();
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        return failure("unknown key \"{}\" (known are text, token_ids, bos and max_tokens){}", printable(key),
                       did_you_mean(key, known, 1));
      }
    }
    const bool text = line.contains("text"), ids = line.contains("token_ids");
    if (text && ids) return failure("has both \"text\" and \"token_ids\"; one of them is enough");
    if (!text && !ids) return failure("has neither \"text\" nor \"token_ids\"");
    if (ids && line.contains("bos")) return failure("/bos: goes with \"text\"; token_ids are scored as they are");
    Tokens tokens;
    if (text) {
      OCTAVO_ASSIGN(tokens, from_text(line));
    } else {
      OCTAVO_ASSIGN(tokens, from_ids(line["token_ids"]));
    }
    OCTAVO_TRY(cut(line, tokens));
    if (tokens.size() > context_) {
      return failure("{} tokens are more than the context of {}; cut them with \"max_tokens\"{}", tokens.size(),
                     context_, context_ < folder_.config.max_positions ? " or raise --context" : "");
    }
    return tokens;
  }

 private:
  Result<Tokens> from_text(const Json& line) const {
    const Json& text = line["text"];
    if (!text.is_string()) return failure("/text: must be a string, not {}", json_type_name(text));
    bool special = true;
    if (const auto bos = line.find("bos"); bos != line.end()) {
      if (!bos->is_boolean()) return failure("/bos: must be true or false, not {}", json_type_name(*bos));
      special = bos->get<bool>();
    }
    if (!folder_.tokenizer) {
      return failure("\"text\" needs a tokenizer, and {} has none; give \"token_ids\"",
                     folder_.checkpoint.dir().string());
    }
    OCTAVO_ASSIGN(Tokens tokens,
                  folder_.tokenizer->encode(text.get_ref<const std::string&>(), {.add_special = special}));
    for (const std::int32_t token : tokens) OCTAVO_TRY(in_vocabulary(token, "the tokenizer's token id"));
    return tokens;
  }

  Result<Tokens> from_ids(const Json& ids) const {
    if (!ids.is_array()) return failure("/token_ids: must be an array of whole numbers, not {}", json_type_name(ids));
    Tokens tokens;
    tokens.reserve(ids.size());
    for (const Json& id : ids) {
      if (!id.is_number_integer()) {
        return failure("/token_ids/{}: must be a whole number, not {}", tokens.size(), json_type_name(id));
      }
      const bool fits = id.is_number_unsigned() && id.get<std::uint64_t>() < folder_.config.vocab;
      if (!fits) {
        return failure("/token_ids/{}: token id {} is outside the model's vocabulary of {}", tokens.size(), id.dump(),
                       folder_.config.vocab);
      }
      tokens.push_back(static_cast<std::int32_t>(id.get<std::uint64_t>()));
    }
    return tokens;
  }

  Status in_vocabulary(std::int32_t token, const char* what) const {
    if (token >= 0 && static_cast<std::uint64_t>(token) < folder_.config.vocab) return {};
    return failure("{} {} is outside the model's vocabulary of {}", what, token, folder_.config.vocab);
  }

  static Status cut(const Json& line, Tokens& tokens) {
    const auto most = line.find("max_tokens");
    if (most == line.end()) return {};
    if (!most->is_number_unsigned() || most->get<std::uint64_t>() == 0) {
      return failure("/max_tokens: must be a whole number of 1 or more, not {}", printable(most->dump(), 40));
    }
    if (tokens.size() > most->get<std::uint64_t>()) tokens.resize(most->get<std::uint64_t>());
    return {};
  }

  const engine::RunnerFolder& folder_;
  std::uint64_t context_;
};

}  // namespace

Result<std::vector<Tokens>> read_score_input(std::istream& in, const engine::RunnerFolder& folder,
                                             std::uint64_t context) {
  const LineReader reader(folder, context);
  std::vector<Tokens> out;
  for (std::string line; std::getline(in, line);) {
    const std::string where = fmt::format("standard input, line {}", out.size() + 1);
    if (line.find_first_not_of(" \t\r") == line.npos) {
      return failure("{}: is empty; every line must be an object such as {{\"text\": \"...\"}}", where);
    }
    const Result<Json> json = parse_json(line, where);
    if (!json.ok()) {
      // "WHERE:1:COLUMN: ...": the line of a line says nothing.
      std::string message = json.error().message;
      if (message.starts_with(where + ":1:")) message.replace(where.size(), 3, ", column ");
      return failure("{}", message);
    }
    Result<Tokens> tokens = reader.read(*json);
    if (!tokens.ok()) return std::move(tokens).context(where).error();
    out.push_back(std::move(*tokens));
  }
  if (in.bad()) return failure("standard input: read failed");
  return out;
}

}  // namespace octavo::cli
