// OUT.partial, sync, rename.
#include "octavo/checkpoint/folder_writer.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

// Marks an OUT.partial as ours, so that a later run may clear what a killed one left, and is locked while one writes.
// Removed after the rename: at no moment does an OUT.partial of ours look foreign.
constexpr const char* kMarker = ".octavo-partial";

// Empties the folder but for the marker.
Status clear_leftover(const fs::path& partial) {
  std::error_code error;
  for (fs::directory_iterator it(partial, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename() == kMarker) continue;
    std::error_code remove_error;
    fs::remove_all(it->path(), remove_error);
    if (remove_error) {
      return failure("{}: cannot clear the leftover: {}", it->path().string(), remove_error.message());
    }
  }
  if (error) return failure("{}: cannot clear the leftover: {}", partial.string(), error.message());
  return {};
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

}  // namespace

Result<FolderWriter> FolderWriter::create(const fs::path& out_arg, const fs::path& source) {
  // "out/" and "out" are the same folder; "." and ".." are the folders they stand for.
  fs::path out = out_arg.has_filename() ? out_arg : out_arg.parent_path();
  if (out.empty()) return usage_error("the output folder has no name");
  std::error_code error;
  if (out.filename() == "." || out.filename() == "..") out = fs::canonical(out, error);
  if (error) return failure("{}: {}", out_arg.string(), error.message());
  if (fs::equivalent(out, source, error)) {
    return usage_error("{}: the output is the input folder; choose another", out.string());
  }
  if (lies_inside(out, source)) {
    return usage_error("{}: the output lies inside the input folder; choose another", out.string());
  }
  if (fs::is_symlink(out, error)) return failure("{}: is a link; name a folder that does not exist yet", out.string());
  if (fs::exists(out, error)) {
    if (!fs::is_directory(out, error)) return failure("{}: exists and is a file", out.string());
    const bool empty = fs::is_empty(out, error);
    if (error) return failure("{}: {}", out.string(), error.message());
    if (!empty) return failure("{}: exists already; remove it or choose another output", out.string());
  }
  fs::path partial = out;
  partial += ".partial";
  if (fs::exists(partial, error)) {
    if (!fs::exists(partial / kMarker, error)) {
      return failure("{}: stands in the way and was not made by octavo; remove it", partial.string());
    }
  }
  fs::create_directories(partial, error);
  if (error) return failure("{}: cannot create: {}", partial.string(), error.message());
  OCTAVO_ASSIGN(File marker, File::create(partial / kMarker));
  if (!marker.try_lock()) return failure("{}: another octavo is writing it", partial.string());
  FolderWriter writer(out, partial, std::move(marker));
  OCTAVO_TRY(clear_leftover(partial));
  return writer;
}

FolderWriter::FolderWriter(FolderWriter&& other) noexcept
    : out_(std::move(other.out_)), partial_(std::exchange(other.partial_, {})), marker_(std::move(other.marker_)) {}

FolderWriter::~FolderWriter() {
  std::error_code ignored;
  if (!partial_.empty()) fs::remove_all(partial_, ignored);
}

Result<File> FolderWriter::create_file(std::string_view name, std::uint64_t bytes) {
  OCTAVO_ASSIGN(File file, File::create(path(name)));
  OCTAVO_TRY(file.resize(bytes));
  return file;
}

Status FolderWriter::write_text(std::string_view name, std::string_view text) {
  return write_text_file(path(name), text);
}

Status FolderWriter::copy_files(const fs::path& from, const std::vector<std::string>& names) {
  for (const std::string& name : names) OCTAVO_TRY(octavo::copy_file(from / name, path(name)));
  return {};
}

Status FolderWriter::commit() {
  std::error_code error;
  OCTAVO_TRY(sync_directory(partial_));
  fs::rename(partial_, out_, error);
  if (error) return failure("{}: cannot rename to {}: {}", partial_.string(), out_.string(), error.message());
  partial_.clear();
  fs::remove(out_ / kMarker, error);  // a file of no bytes: were it to stay, it would harm nothing
  OCTAVO_TRY(sync_directory(out_));
  const fs::path parent = out_.parent_path();
  return sync_directory(parent.empty() ? fs::path(".") : parent);
}

}  // namespace octavo
