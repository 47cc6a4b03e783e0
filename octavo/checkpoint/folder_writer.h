// An output folder that appears whole or not at all: everything is written to OUT.partial beside it, synced, renamed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/status.h"

namespace octavo {

class FolderWriter {
 public:
  // Makes OUT.partial, or empties the one that a killed run left. Fails when OUT exists (an empty folder is fine), when
  // it is `source` itself or lies inside it, when an OUT.partial stands there that is not ours, or while another
  // process writes it.
  static Result<FolderWriter> create(const std::filesystem::path& out, const std::filesystem::path& source);

  FolderWriter(FolderWriter&& other) noexcept;
  FolderWriter& operator=(FolderWriter&&) = delete;
  ~FolderWriter();  // without commit(): removes OUT.partial

  const std::filesystem::path& out() const { return out_; }
  std::filesystem::path path(std::string_view name) const { return partial_ / name; }  // inside OUT.partial

  // A file of final length `bytes`, to be written positionally.
  Result<File> create_file(std::string_view name, std::uint64_t bytes);
  Status write_text(std::string_view name, std::string_view text);
  // Copies files of `from`, and sub-folders never.
  Status copy_files(const std::filesystem::path& from, const std::vector<std::string>& names);

  // Renames OUT.partial to OUT. Files must have been synced and closed.
  Status commit();

 private:
  FolderWriter(std::filesystem::path out, std::filesystem::path partial, File marker)
      : out_(std::move(out)), partial_(std::move(partial)), marker_(std::move(marker)) {}
  std::filesystem::path out_;
  std::filesystem::path partial_;  // empty once committed or moved from
  File marker_;                    // its lock says that somebody is writing
};

}  // namespace octavo
