// OUT.partial, its state, the rename. The order of syncs is what makes it safe; each says what it is for.
#include "octavo/checkpoint/output_folder.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "octavo/base/text.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kManifestName = "manifest.json";
constexpr std::string_view kFinalFolder = "final";  // in the state's folder: the texts that publish puts in place
constexpr std::uint64_t kMaxText = 128ull << 20;    // of an index, the largest
constexpr std::uint64_t kMaxManifest = 64ull << 20;

std::string part_name(std::string_view prefix, std::uint32_t part, std::uint32_t parts, std::string_view suffix) {
  return fmt::format("{}{}-of-{}{}", prefix, part, parts, suffix);
}

Status sync_parent(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return sync_directory(parent.empty() ? fs::path(".") : parent);
}

// Whether `out`, which need not exist, lies somewhere below the folder `source`, links followed.
bool lies_inside(const fs::path& out, const fs::path& source) {
  std::error_code error;
  if (!fs::is_directory(source, error)) return false;
  fs::path at = fs::weakly_canonical(fs::absolute(out, error), error);
  while (at.has_relative_path()) {
    at = at.parent_path();
    if (fs::equivalent(at, source, error)) return true;
  }
  return false;
}

// The entries of a folder, sorted.
Result<std::vector<fs::path>> entries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> out;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) out.push_back(*it);
  if (error) return failure("{}: cannot list: {}", folder.string(), error.message());
  std::sort(out.begin(), out.end());
  return out;
}

Status remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return failure("{}: cannot remove: {}", path.string(), error.message());
  return {};
}

// Empties OUT.partial but for the lock that the caller holds. What vouches for something goes before it, each step
// durable before the next: a part's mark vouches for its journal, the journal for data, the manifest for the texts.
Status clear(const fs::path& partial) {
  const fs::path state = partial / kStateFolder;
  OCTAVO_ASSIGN(const auto in_state, entries(state));
  const auto vouches = [](const fs::path& path) {
    return path.filename() == kManifestName || path.filename().string().starts_with("journal-");
  };
  for (const fs::path& path : in_state) {
    if (path.extension() == ".done") OCTAVO_TRY(remove_tree(path));
  }
  OCTAVO_TRY(sync_directory(state));
  for (const fs::path& path : in_state) {
    if (vouches(path)) OCTAVO_TRY(remove_tree(path));
  }
  OCTAVO_TRY(sync_directory(state));
  for (const fs::path& path : in_state) {
    if (path.filename() != "lock") OCTAVO_TRY(remove_tree(path));
  }
  OCTAVO_ASSIGN(const auto in_partial, entries(partial));
  for (const fs::path& path : in_partial) {
    if (path.filename() != kStateFolder) OCTAVO_TRY(remove_tree(path));
  }
  return sync_directory(state);
}

// Of a process that was killed a moment ago the lock may still be there.
Result<File> lock_part(const fs::path& partial, const fs::path& path) {
  constexpr int kTries = 10;
  for (int i = 0;; ++i) {
    OCTAVO_ASSIGN(File lock, File::open_or_create(path));
    if (lock.try_lock()) return lock;
    if (i == kTries) return failure("{}: another octavo is writing it", partial.string());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// Fails while a part of the folder is being worked on.
Status check_idle(const fs::path& partial) {
  OCTAVO_ASSIGN(const auto in_state, entries(partial / kStateFolder));
  for (const fs::path& path : in_state) {
    if (path.extension() != ".lock") continue;
    OCTAVO_ASSIGN(const File lock, lock_part(partial, path));
  }
  return {};
}

// Makes OUT.partial with its state's folder, or sees that what is there is ours.
Status prepare(const fs::path& partial) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(partial, error)) && !fs::is_directory(fs::symlink_status(partial, error))) {
    return failure("{}: stands in the way and is not a folder; remove it", partial.string());
  }
  fs::create_directories(partial, error);
  if (error) return failure("{}: cannot create: {}", partial.string(), error.message());
  const fs::path state = partial / kStateFolder;
  if (fs::is_directory(state, error)) return {};
  const bool empty = fs::is_empty(partial, error);
  if (error) return failure("{}: {}", partial.string(), error.message());
  if (!empty) return failure("{}: stands in the way and was not made by octavo; remove it", partial.string());
  fs::create_directory(state, error);
  if (error) return failure("{}: cannot create: {}", state.string(), error.message());
  // Before anything else is in it: a folder with data but without its state would not be known as ours.
  OCTAVO_TRY(sync_directory(partial));
  return sync_parent(partial);
}

// Written under another name first: a manifest is whole or absent.
Status write_whole(const fs::path& path, std::string_view text) {
  fs::path temporary = path;
  temporary += ".tmp";
  OCTAVO_TRY(write_text_file(temporary, text));
  return rename_path(temporary, path);
}

Status begin(const fs::path& partial, const Manifest& manifest, const std::vector<TextFile>& texts) {
  const fs::path state = partial / kStateFolder, final_folder = state / kFinalFolder;
  std::error_code error;
  fs::create_directory(final_folder, error);
  if (error) return failure("{}: cannot create: {}", final_folder.string(), error.message());
  for (const TextFile& text : texts) OCTAVO_TRY(write_text_file(final_folder / text.name, text.text));
  OCTAVO_TRY(sync_directory(final_folder));
  OCTAVO_TRY(write_whole(state / kManifestName, format_manifest(manifest)));
  return sync_directory(state);
}

// The manifest of an unfinished output; nullopt where a crash came before it, or where it is not wanted.
Result<std::optional<Manifest>> read_manifest(const fs::path& partial, bool ignore = false) {
  if (ignore) return std::optional<Manifest>();
  const fs::path path = partial / kStateFolder / kManifestName;
  std::error_code error;
  if (!fs::exists(path, error)) return std::optional<Manifest>();
  OCTAVO_ASSIGN(const std::string text, read_text_file(path, kMaxManifest));
  OCTAVO_ASSIGN(Manifest manifest, parse_manifest(text, path.string()).context("the manifest is damaged (--restart)"));
  return std::optional<Manifest>(std::move(manifest));
}

std::string files_text(const std::vector<std::pair<std::string, std::uint64_t>>& files) {
  Json list = Json::array();
  for (const auto& [name, bytes] : files) list.push_back({{"name", name}, {"bytes", bytes}});
  return Json{{"files", std::move(list)}}.dump(2) + "\n";
}

Result<std::vector<std::pair<std::string, std::uint64_t>>> parse_files(std::string_view text,
                                                                       const std::string& origin) {
  OCTAVO_ASSIGN(const Json root, parse_json(text, origin));
  const auto list = root.is_object() ? root.find("files") : root.end();
  if (!root.is_object() || list == root.end() || !list->is_array()) return failure("{}: names no files", origin);
  std::vector<std::pair<std::string, std::uint64_t>> out;
  for (const Json& entry : *list) {
    const bool whole = entry.is_object() && entry.contains("name") && entry["name"].is_string() &&
                       entry.contains("bytes") && entry["bytes"].is_number_unsigned();
    if (!whole) return failure("{}: /files/{} must have a name and a number of bytes", origin, out.size());
    out.emplace_back(entry["name"].get<std::string>(), entry["bytes"].get<std::uint64_t>());
    const std::string& name = out.back().first;
    if (name.empty() || name.find('/') != name.npos || name.front() == '.') {
      return failure("{}: \"{}\" is no file of the folder", origin, printable(name));
    }
  }
  return out;
}

}  // namespace

fs::path partial_of(fs::path out) { return out += ".partial"; }

Result<fs::path> output_path(const fs::path& out_arg, const std::vector<fs::path>& sources) {
  fs::path out = out_arg.has_filename() ? out_arg : out_arg.parent_path();
  if (out.empty()) return usage_error("the output folder has no name");
  std::error_code error;
  if (out.filename() == "." || out.filename() == "..") out = fs::canonical(out, error);
  if (error) return failure("{}: {}", out_arg.string(), error.message());
  for (const fs::path& source : sources) {
    if (fs::equivalent(out, source, error)) {
      return usage_error("{}: the output is the input folder; choose another", out.string());
    }
    if (lies_inside(out, source)) {
      return usage_error("{}: the output lies inside the input folder; choose another", out.string());
    }
  }
  if (fs::is_symlink(out, error)) return failure("{}: is a link; name a folder that does not exist yet", out.string());
  return out;
}

Result<bool> is_finished(const fs::path& out, const Record& wanted, const std::vector<SourceFile>& sources,
                         const std::vector<std::pair<std::string, std::uint64_t>>& files) {
  std::error_code error;
  if (!fs::exists(out, error)) {
    if (error) return failure("{}: {}", out.string(), error.message());
    return false;
  }
  if (!fs::is_directory(out, error)) return failure("{}: exists and is a file", out.string());
  const bool empty = fs::is_empty(out, error);
  if (error) return failure("{}: {}", out.string(), error.message());
  if (empty) return false;
  const fs::path record_path = out / kRecordName;
  if (!fs::exists(record_path, error)) {
    return failure("{}: exists already and was not made by this command; remove it or choose another output",
                   out.string());
  }
  OCTAVO_ASSIGN(const std::string text, read_text_file(record_path, kMaxText));
  OCTAVO_ASSIGN(const Record record, parse_record(text, record_path.string()));
  if (const auto difference = record_difference(record, wanted, false)) {
    return failure("{}: was made with {}; remove it or choose another output", out.string(), *difference);
  }
  for (const auto& [name, bytes] : files) {
    const auto state = file_state(out / name);
    if (!state.ok() || state->bytes != bytes) {
      return failure("{}: {} is missing or was changed since; remove the folder or choose another output", out.string(),
                     printable(name));
    }
  }
  OCTAVO_ASSIGN(const FileState finished, file_state(record_path));
  for (const SourceFile& file : sources) {
    if (file.state.modified_ns > finished.modified_ns) {
      return failure("{}: was made before {} was last modified; remove it or choose another output", out.string(),
                     printable(file.name));
    }
  }
  // What a crash right after the rename left. Not needed; in the way of nobody.
  fs::remove_all(out / kStateFolder, error);
  return true;
}

Result<std::optional<OutputFolder>> OutputFolder::open(const fs::path& out, const Manifest& manifest,
                                                       const std::vector<TextFile>& texts,
                                                       const FolderOptions& options) {
  const fs::path partial = partial_of(out), state = partial / kStateFolder;
  OCTAVO_TRY(prepare(partial));
  OCTAVO_ASSIGN(File lock, File::open_or_create(state / "lock"));
  OCTAVO_TRY(lock.lock());
  // Another part may have published the folder while this one waited for the lock...
  if (!lock.is_at(state / "lock")) return std::optional<OutputFolder>();
  OCTAVO_ASSIGN(std::optional<Manifest> begun, read_manifest(partial, options.restart));
  std::error_code error;
  if (!begun && fs::exists(out / kRecordName, error)) {
    // ...or just before this one made a new, empty OUT.partial, which nobody needs.
    OCTAVO_TRY(check_idle(partial));
    OCTAVO_TRY(remove_tree(partial));
    return std::optional<OutputFolder>();
  }
  if (!begun) {
    OCTAVO_TRY(check_idle(partial));
    OCTAVO_TRY(clear(partial));
    OCTAVO_TRY(begin(partial, manifest, texts));
  } else if (const auto difference = manifest_difference(*begun, manifest)) {
    return failure("{}: was begun with {}; finish it with the same command, or --restart", partial.string(),
                   *difference);
  }
  OCTAVO_ASSIGN(File part_lock, lock_part(partial, state / part_name("part-", options.part, options.parts, ".lock")));
  // From here on the part is not done, whatever an earlier run said.
  const fs::path mark = state / part_name("part-", options.part, options.parts, ".done");
  if (fs::exists(mark, error)) {
    OCTAVO_TRY(remove_tree(mark));
    OCTAVO_TRY(sync_directory(state));
  }
  return std::optional<OutputFolder>(OutputFolder(out, partial, manifest, options, std::move(part_lock)));
}

fs::path OutputFolder::journal_path() const {
  return partial_ / kStateFolder / part_name("journal-", options_.part, options_.parts, "");
}

Status OutputFolder::part_done(const std::vector<std::pair<std::string, std::uint64_t>>& files) {
  const fs::path state = partial_ / kStateFolder;
  OCTAVO_TRY(write_whole(state / part_name("part-", options_.part, options_.parts, ".done"), files_text(files)));
  return sync_directory(state);
}

Result<std::vector<std::uint32_t>> publish_folder(const fs::path& out, std::uint32_t parts) {
  const fs::path partial = partial_of(out), state = partial / kStateFolder;
  std::error_code error;
  std::vector<std::uint32_t> missing;
  // Another part, done at the same moment, may publish it, before the lock or while this one waits for it.
  const auto published = [&] { return !fs::exists(state, error) && fs::exists(out / kRecordName, error); };
  auto lock = File::open_or_create(state / "lock");
  if (!lock.ok()) {
    if (published()) return missing;
    return lock.error();
  }
  OCTAVO_TRY(lock->lock());
  if (!lock->is_at(state / "lock")) return missing;
  for (std::uint32_t part = 1; part <= parts; ++part) {
    const fs::path mark = state / part_name("part-", part, parts, ".done");
    if (!fs::exists(mark, error)) {
      missing.push_back(part);
      continue;
    }
    OCTAVO_ASSIGN(const std::string text, read_text_file(mark, kMaxManifest));
    OCTAVO_ASSIGN(const auto files, parse_files(text, mark.string()));
    for (const auto& [name, bytes] : files) {
      const auto file = file_state(partial / name);
      if (!file.ok() || file->bytes != bytes) {
        return failure("{}: is missing or has not the {} bytes that part {} says; run that part again",
                       (partial / printable(name)).string(), bytes, part);
      }
    }
  }
  if (!missing.empty()) return missing;
  if (!fs::exists(state / kFinalFolder / kRecordName, error)) {
    return failure("{}: is damaged; --restart starts anew", (state / kFinalFolder).string());
  }
  OCTAVO_ASSIGN(const auto texts, entries(state / kFinalFolder));
  for (const fs::path& text : texts) OCTAVO_TRY(octavo::copy_file(text, partial / text.filename()));
  OCTAVO_TRY(sync_directory(partial));  // every name, before the folder can be seen as OUT
  OCTAVO_TRY(rename_path(partial, out));
  OCTAVO_TRY(sync_parent(out));
  // Only now: were the state lost before the rename is durable, OUT.partial would not be known as ours.
  fs::remove_all(out / kStateFolder, error);
  OCTAVO_TRY(sync_directory(out));
  return missing;
}

Result<UnfinishedFolder> read_unfinished(const fs::path& path) {
  std::error_code error;
  UnfinishedFolder out;
  out.partial =
      fs::is_directory(path / kStateFolder, error) ? path : partial_of(path.has_filename() ? path : path.parent_path());
  if (!fs::is_directory(out.partial / kStateFolder, error)) {
    return failure("{}: holds no part of an unfinished output", path.string());
  }
  OCTAVO_ASSIGN(std::optional<Manifest> manifest, read_manifest(out.partial));
  if (!manifest) return failure("{}: holds no part of an unfinished output", out.partial.string());
  out.manifest = std::move(*manifest);
  const fs::path state = out.partial / kStateFolder;
  for (std::uint32_t part = 1; part <= out.manifest.parts; ++part) {
    const fs::path done = state / part_name("part-", part, out.manifest.parts, ".done");
    if (!fs::exists(done, error)) continue;
    OCTAVO_ASSIGN(const std::string text, read_text_file(done, kMaxManifest));
    OCTAVO_ASSIGN(auto files, parse_files(text, done.string()));
    out.parts.push_back({part, std::move(files)});
  }
  OCTAVO_ASSIGN(const auto texts, entries(state / kFinalFolder));
  for (const fs::path& text : texts) {
    OCTAVO_ASSIGN(std::string content, read_text_file(text, kMaxText));
    out.texts.push_back({text.filename().string(), std::move(content)});
  }
  return out;
}

}  // namespace octavo
