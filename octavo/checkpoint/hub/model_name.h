// "ORG/NAME@REVISION": names of models, revisions, commits and files on a Hugging Face hub, and which of them are fit
// to become paths.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace octavo::hub {

struct ModelName {
  std::string repo;               // "Qwen/Qwen3-8B"; without a slash: a legacy name such as "gpt2"
  std::string revision = "main";  // branch, tag, commit
  std::string text() const { return revision == "main" ? repo : repo + "@" + revision; }
};

// As huggingface_hub's validate_repo_id: one or two parts of 1 to 96 characters of [A-Za-z0-9_.-], each beginning and
// ending in [A-Za-z0-9_]; no "--", no "..", no ".git" at the end.
bool is_repo_id(std::string_view text);
// A git ref that is safe below refs/: printable ASCII, no "..", no empty part, none of git's forbidden characters.
bool is_revision(std::string_view text);
bool is_commit(std::string_view text);  // 40 lower-case hexadecimal digits
// A file at the top of a repository, under a name that is one component of a path.
bool is_plain_file_name(std::string_view text);

// nullopt: not of the form REPO or REPO@REVISION.
std::optional<ModelName> parse_model_name(std::string_view text);

// Percent-encodes all but unreserved characters (RFC 3986 2.3) and, where `slashes`, '/'.
std::string url_encode(std::string_view text, bool slashes);

}  // namespace octavo::hub
