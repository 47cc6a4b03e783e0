// The life of an output folder on disk: OUT.partial with its state in .octavo/ until all is there and durable, then OUT
// by one rename. At no moment does OUT look finished when it is not. Layout: docs/formats.md, "Unfinished output".
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/manifest.h"

namespace octavo {

// The state's folder inside OUT.partial. Gone from a finished OUT.
inline constexpr std::string_view kStateFolder = ".octavo";

struct TextFile {
  std::string name, text;
};

struct FolderOptions {
  std::uint32_t part = 1, parts = 1;  // this process's share: 1 <= part <= parts
  bool restart = false;               // throw an unfinished output of ours away, whatever it was
};

// "out/" and "out" are the same folder; "." is the folder it stands for. Refuses (usage) an output that is a source or
// lies inside one, and a link.
Result<std::filesystem::path> output_path(const std::filesystem::path& out,
                                          const std::vector<std::filesystem::path>& sources);

std::filesystem::path partial_of(std::filesystem::path out);  // OUT.partial

// Whether OUT is already what `record` makes: false when OUT is not there or empty. Fails when something else is there,
// when a file of `files` (name, bytes) is not, or when a source was modified after OUT was finished.
Result<bool> is_finished(const std::filesystem::path& out, const Record& record, const std::vector<SourceFile>& sources,
                         const std::vector<std::pair<std::string, std::uint64_t>>& files);

// When every part of the unfinished OUT is done: puts the texts in place, renames OUT.partial to OUT and removes the
// state. Otherwise returns the parts that are missing and leaves all as it is. Safe against other parts' doing the
// same.
Result<std::vector<std::uint32_t>> publish_folder(const std::filesystem::path& out, std::uint32_t parts);

class OutputFolder {
 public:
  // Makes OUT.partial or takes over what an earlier run left. Fails when it was begun with another manifest (the
  // sentence says in what), when it is not ours, or while another process does the same part. `texts` are the small
  // files that appear when all parts are done, octavo.json among them.
  // nullopt: OUT was published meanwhile; ask is_finished again.
  static Result<std::optional<OutputFolder>> open(const std::filesystem::path& out, const Manifest& manifest,
                                                  const std::vector<TextFile>& texts, const FolderOptions& options);

  std::filesystem::path path(std::string_view name) const { return partial_ / name; }  // inside OUT.partial
  std::filesystem::path journal_path() const;                                          // of this part
  Status sync_state() const { return sync_directory(partial_ / kStateFolder); }
  Status sync() const { return sync_directory(partial_); }

  // Says durably that this part's files (name and bytes) are complete and durable.
  Status part_done(const std::vector<std::pair<std::string, std::uint64_t>>& files);
  Result<std::vector<std::uint32_t>> publish() { return publish_folder(out_, options_.parts); }

 private:
  OutputFolder(std::filesystem::path out, std::filesystem::path partial, Manifest manifest, FolderOptions options,
               File part_lock)
      : out_(std::move(out)),
        partial_(std::move(partial)),
        manifest_(std::move(manifest)),
        options_(options),
        part_lock_(std::move(part_lock)) {}
  std::filesystem::path out_, partial_;
  Manifest manifest_;
  FolderOptions options_;
  File part_lock_;  // says that somebody is at work
};

// An unfinished output as `octavo merge` finds it.
struct UnfinishedFolder {
  std::filesystem::path partial;
  Manifest manifest;
  struct Part {
    std::uint32_t part = 0;
    std::vector<std::pair<std::string, std::uint64_t>> files;  // complete ones
  };
  std::vector<Part> parts;      // those that are done
  std::vector<TextFile> texts;  // what publish would write, octavo.json included
};
// `path` is OUT or OUT.partial.
Result<UnfinishedFolder> read_unfinished(const std::filesystem::path& path);

}  // namespace octavo
