// Checks that the parts fit, then copies their files as a job of its own.
#include "octavo/checkpoint/merge.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "octavo/base/text.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kUnit = 16ull << 20;
constexpr std::uint64_t kPiece = 1ull << 20;

struct MergedFile {
  std::string name;
  fs::path from;
  std::uint64_t bytes = 0;
};

struct Merge {
  Manifest manifest;
  std::vector<TextFile> texts;
  std::vector<MergedFile> files;  // by name
};

Status check_file(const MergedFile& file) {
  OCTAVO_ASSIGN(const File opened, File::open_read(file.from));
  if (opened.size() != file.bytes) {
    return failure("{}: has {} bytes, its part says {}: changed since", file.from.string(), opened.size(), file.bytes);
  }
  if (!file.name.ends_with(".safetensors")) return {};
  const auto header = read_safetensors_header(opened);
  return header.ok() ? Status() : header.error();
}

Result<Merge> gather(const std::vector<fs::path>& inputs) {
  Merge out;
  std::map<std::uint32_t, fs::path> providers;
  std::map<std::string, MergedFile> files;
  fs::path first;
  for (const fs::path& input : inputs) {
    OCTAVO_ASSIGN(UnfinishedFolder folder, read_unfinished(input));
    if (first.empty()) {
      first = folder.partial;
      out.manifest = folder.manifest;
      out.texts = std::move(folder.texts);
    } else if (const auto difference = record_difference(folder.manifest.record, out.manifest.record, true)) {
      return failure("{} and {} do not fit: the first was made with {}", folder.partial.string(), first.string(),
                     *difference);
    } else if (folder.manifest.parts != out.manifest.parts) {
      return failure("{} and {} do not fit: one of {} parts, one of {}", folder.partial.string(), first.string(),
                     folder.manifest.parts, out.manifest.parts);
    }
    for (const UnfinishedFolder::Part& part : folder.parts) {
      const auto [it, added] = providers.try_emplace(part.part, folder.partial);
      if (!added && it->second != folder.partial) {
        return failure("part {} is both in {} and in {}: name one of them", part.part, it->second.string(),
                       folder.partial.string());
      }
      for (const auto& [name, bytes] : part.files) {
        if (!files.try_emplace(name, MergedFile{name, folder.partial / name, bytes}).second) {
          return failure("{}: two parts say that {} is theirs", folder.partial.string(), printable(name));
        }
      }
    }
  }
  for (std::uint32_t part = 1; part <= out.manifest.parts; ++part) {
    if (!providers.contains(part)) {
      return failure("part {}/{} is missing or not done in what was named", part, out.manifest.parts);
    }
  }
  for (auto& [name, file] : files) {
    OCTAVO_TRY(check_file(file));
    out.files.push_back(std::move(file));
  }
  return out;
}

struct CopyUnit {
  std::uint32_t file = 0;
  std::uint64_t begin = 0, end = 0;
};

JobDescription describe(const Merge& merge, std::vector<CopyUnit>& units) {
  JobDescription job;
  job.record.command = "merge";
  job.record.source = merge.manifest.record.source;
  job.made_by = merge.manifest.record;
  for (std::uint32_t i = 0; i < merge.files.size(); ++i) {
    const MergedFile& file = merge.files[i];
    job.inputs.push_back({file.name, file.from});
    job.files.push_back({file.name, file.bytes});
    for (std::uint64_t at = 0; at < file.bytes; at += kUnit) {
      units.push_back({i, at, std::min(at + kUnit, file.bytes)});
      job.units.push_back({i, units.back().end - at});
    }
  }
  for (const TextFile& text : merge.texts) {
    if (text.name != kRecordName) job.texts.push_back(text);
  }
  return job;
}

Status copy_units(const Merge& merge, const std::vector<CopyUnit>& units, const MergeOptions& options, OutputJob& job) {
  std::vector<File> sources;
  for (const MergedFile& file : merge.files) {
    OCTAVO_ASSIGN(File source, File::open_read(file.from));
    sources.push_back(std::move(source));
  }
  for (std::uint32_t i = 0; options.progress != nullptr && i < units.size(); ++i) {
    if (job.is_complete(i)) options.progress->skip(units[i].end - units[i].begin);
  }
  const std::uint64_t piece = std::clamp<std::uint64_t>(
      options.window_bytes / static_cast<std::uint64_t>(options.threads), 64ull << 10, kPiece);
  return job.for_each_unit(options.threads, units.size(), [&](std::uint32_t index, int) -> Status {
    const CopyUnit& unit = units[index];
    std::vector<std::byte> buffer;
    for (std::uint64_t at = unit.begin; at < unit.end; at += buffer.size()) {
      buffer.resize(static_cast<std::size_t>(std::min(piece, unit.end - at)));
      OCTAVO_TRY(sources[unit.file].read_at(at, buffer));
      OCTAVO_TRY(job.write(unit.file, at, buffer));
      if (options.progress != nullptr) options.progress->advance(buffer.size(), merge.files[unit.file].name);
    }
    return {};
  });
}

}  // namespace

std::uint64_t merge_bytes(const std::vector<fs::path>& inputs) {
  std::uint64_t bytes = 0;
  const auto merge = gather(inputs);
  if (!merge.ok()) return 0;
  for (const MergedFile& file : merge->files) bytes += file.bytes;
  return bytes;
}

Result<MergeSummary> merge_parts(const std::vector<fs::path>& inputs, const fs::path& out_arg,
                                 const MergeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN(const fs::path out, output_path(out_arg, {}));
  MergeSummary summary;
  std::error_code error;
  const auto is_out = [&](const fs::path& input) {
    return fs::equivalent(input, out, error) && fs::exists(out / kRecordName, error);
  };
  if (std::all_of(inputs.begin(), inputs.end(), is_out)) {  // the last part of a shared folder has put it together
    summary.already_finished = true;
    return summary;
  }
  OCTAVO_ASSIGN(const Merge merge, gather(inputs));
  summary.parts = merge.manifest.parts;
  summary.files = merge.files.size();
  for (const MergedFile& file : merge.files) summary.bytes += file.bytes;

  const fs::path partial = partial_of(out);
  const auto here = [&](const MergedFile& file) { return fs::equivalent(file.from.parent_path(), partial, error); };
  if (std::any_of(merge.files.begin(), merge.files.end(), here)) {
    if (!std::all_of(merge.files.begin(), merge.files.end(), here)) {
      return failure("{}: holds one of the parts itself; choose another output", partial.string());
    }
    OCTAVO_ASSIGN(const auto missing, publish_folder(out, merge.manifest.parts));
    if (!missing.empty()) return failure("{}: part {} is missing", partial.string(), missing.front());
    summary.in_place = true;
  } else {
    std::vector<CopyUnit> units;
    JobDescription description = describe(merge, units);
    OCTAVO_ASSIGN(OutputJob job, OutputJob::open(out, {}, std::move(description), options.job));
    summary.already_finished = job.finished();
    if (!job.finished()) {
      OCTAVO_TRY(copy_units(merge, units, options, job));
      OCTAVO_ASSIGN(const auto missing, job.finish());
      static_cast<void>(missing);  // a merge has one part
    }
  }
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

}  // namespace octavo
