// octavo tokenize and octavo detokenize: text to ids and back, line by line.
#include <fmt/format.h>

#include <charconv>
#include <iostream>

#include "cli/command.h"
#include "cli/model_source.h"
#include "octavo/base/text.h"
#include "octavo/text/tokenizer.h"

namespace octavo::cli {
namespace {

struct Options {
  std::string path;
  std::vector<std::string> values;  // texts, or ids
  bool json = false;
  bool no_special = false;
  bool skip_special = false;
};

Status print_line(const std::string& line) {
  // Flushed: whoever talks to us through a pipe waits for the line.
  if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() || std::fflush(stdout) != 0) {
    return failure("standard output: write failed");
  }
  return {};
}

// One line of output for every line of standard input; an error names the line.
Status for_each_line(const std::function<Result<std::string>(const std::string&)>& answer) {
  std::size_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    auto out = answer(line);
    if (!out.ok()) return std::move(out).error().context(fmt::format("standard input, line {}", number));
    OCTAVO_TRY(print_line(*out));
  }
  if (std::cin.bad()) return failure("standard input: read failed");
  return {};
}

// The member `name` of a line that is a JSON object.
Result<Json> member(const std::string& line, const char* name) {
  OCTAVO_ASSIGN(const Json json, parse_json(line, "JSON"));
  if (!json.is_object()) return failure("must be an object {{\"{}\": ...}}, not {}", name, json_type_name(json));
  const auto it = json.find(name);
  if (it == json.end()) return failure("the object has no \"{}\"", name);
  return *it;
}

// The characters that many readers take for the end of a line are escaped.
std::string to_line(const Json& json) {
  std::string out = json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  for (const auto& [character, escape] :
       {std::pair("\xC2\x85", "\\u0085"), std::pair("\xE2\x80\xA8", "\\u2028"), std::pair("\xE2\x80\xA9", "\\u2029")}) {
    for (std::size_t at = 0; (at = out.find(character, at)) != out.npos;) {
      out.replace(at, std::char_traits<char>::length(character), escape);
    }
  }
  return out + "\n";
}

Result<std::string> tokenize_json(const text::Tokenizer& tokenizer, const Options& o, const std::string& line) {
  OCTAVO_ASSIGN(const Json value, member(line, "text"));
  if (!value.is_string()) return failure("\"text\" must be a string, not {}", json_type_name(value));
  OCTAVO_ASSIGN(const auto ids, tokenizer.encode(value.get_ref<const std::string&>(), {.add_special = !o.no_special}));
  return to_line({{"ids", ids}});
}

// A line a token: its id, and the token as the tokenizer spells it. An empty line ends the text.
Result<std::string> tokenize_text(const text::Tokenizer& tokenizer, const Options& o, const std::string& text) {
  OCTAVO_ASSIGN(const auto ids, tokenizer.encode(text, {.add_special = !o.no_special}));
  std::string out;
  for (const std::int32_t id : ids)
    out += fmt::format("{:>8}  {}\n", id, printable(tokenizer.token_text(id).value_or("")));
  return out + "\n";
}

Outcome tokenize(const Options& o) {
  OCTAVO_ASSIGN(const auto path, find_model(o.path, "tokenize", false, Wanted::kTokenizer));
  OCTAVO_ASSIGN(const text::Tokenizer tokenizer, text::Tokenizer::load(path));
  if (o.json && !o.values.empty()) return usage_error("--json reads its texts from standard input, not as arguments");
  for (const std::string& value : o.values) {
    OCTAVO_ASSIGN(const std::string out, tokenize_text(tokenizer, o, value));
    OCTAVO_TRY(print_line(out));
  }
  if (o.values.empty()) {
    OCTAVO_TRY(for_each_line([&](const std::string& line) {
      return o.json ? tokenize_json(tokenizer, o, line) : tokenize_text(tokenizer, o, line);
    }));
  }
  return 0;
}

Result<std::string> detokenize_json(const text::Tokenizer& tokenizer, const Options& o, const std::string& line) {
  OCTAVO_ASSIGN(const Json value, member(line, "ids"));
  if (!value.is_array()) return failure("\"ids\" must be a list, not {}", json_type_name(value));
  std::vector<std::int32_t> ids;
  for (const Json& id : value) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > INT32_MAX) {
      return failure("\"ids\" holds {}, which is no token id", printable(id.dump(-1, ' ', true)));
    }
    ids.push_back(id.get<std::int32_t>());
  }
  OCTAVO_ASSIGN(const std::string text, tokenizer.decode(ids, o.skip_special));
  return to_line({{"text", text}});
}

// Ids separated by spaces or commas.
Result<std::string> detokenize_text(const text::Tokenizer& tokenizer, const Options& o, std::string_view line) {
  std::vector<std::int32_t> ids;
  for (;;) {
    const std::size_t begin = line.find_first_not_of(" ,\t\r");
    if (begin == line.npos) break;
    line.remove_prefix(begin);
    const std::string_view word = line.substr(0, line.find_first_of(" ,\t\r"));
    std::int32_t id = 0;
    const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (code != std::errc() || end != word.data() + word.size() || id < 0) {
      return failure("\"{}\" is no token id", printable(word));
    }
    ids.push_back(id);
    line.remove_prefix(word.size());
  }
  OCTAVO_ASSIGN(const std::string text, tokenizer.decode(ids, o.skip_special));
  return text + "\n";
}

Outcome detokenize(const Options& o) {
  OCTAVO_ASSIGN(const auto path, find_model(o.path, "detokenize", false, Wanted::kTokenizer));
  OCTAVO_ASSIGN(const text::Tokenizer tokenizer, text::Tokenizer::load(path));
  if (o.json && !o.values.empty()) return usage_error("--json reads its ids from standard input, not as arguments");
  if (!o.values.empty()) {
    std::string all;
    for (const std::string& value : o.values) all += value + " ";
    OCTAVO_ASSIGN(const std::string out, detokenize_text(tokenizer, o, all));
    OCTAVO_TRY(print_line(out));
    return 0;
  }
  OCTAVO_TRY(for_each_line([&](const std::string& line) {
    return o.json ? detokenize_json(tokenizer, o, line) : detokenize_text(tokenizer, o, line);
  }));
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* command = add_command(app, "tokenize", "Turn text into token ids", "octavo tokenize smollm2 'Hello world'");
  command->add_option("PATH", o.path, "model folder or name, tokenizer.json, or SentencePiece model")
      ->required()
      ->option_text(" ");
  command->add_option("TEXT", o.values, "texts; without any, each line of standard input")->option_text(" ");
  command->add_flag("--no-special", o.no_special, "add no BOS or EOS; special tokens spelled in the text still count");
  command->add_flag("--json", o.json, "read {\"text\"} lines from standard input, print {\"ids\"} lines")
      ->group("Output");
  command->callback([options, &action] { action = [options] { return tokenize(*options); }; });
}

void add_detokenize(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* command = add_command(app, "detokenize", "Turn token ids into text", "octavo detokenize smollm2 19556 905");
  command->add_option("PATH", o.path, "model folder or name, tokenizer.json, or SentencePiece model")
      ->required()
      ->option_text(" ");
  command->add_option("ID", o.values, "ids; without any, those of each line of standard input")->option_text(" ");
  command->add_flag("--skip-special", o.skip_special, "leave special tokens out of the text");
  command->add_flag("--json", o.json, "read {\"ids\"} lines from standard input, print {\"text\"} lines")
      ->group("Output");
  command->callback([options, &action] { action = [options] { return detokenize(*options); }; });
}

}  // namespace octavo::cli
