// What an output folder is made of and how: beside the unfinished output as its manifest, in the finished one as
// octavo.json. Running a command again compares them, so that nothing is mixed. Format: docs/formats.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/json.h"
#include "octavo/base/status.h"

namespace octavo {

inline constexpr std::string_view kRecordName = "octavo.json";

// What decides the bytes of an output: the same record, the same folder. No times, no paths, no machine.
struct Record {
  std::string version;  // of octavo
  std::string command;  // "quantize"
  Json options = Json::object();
  std::string source;  // fingerprint of the source's tensors (names, dtypes, shapes, places) and config
  std::string output;  // fingerprint of the output's files: names, sizes, headers, units
};

struct SourceFile {
  std::string name;
  FileState state;
};

// A record with what holds for this run of it only.
struct Manifest {
  Record record;
  std::uint32_t parts = 1;
  std::uint64_t units = 0;
  std::vector<SourceFile> files;  // as they were when the work began
};

std::string format_record(const Record& record);
std::string format_manifest(const Manifest& manifest);
Result<Record> parse_record(std::string_view text, std::string_view origin);
Result<Manifest> parse_manifest(std::string_view text, std::string_view origin);

// The first thing in which two records differ, for a sentence such as "OUT was begun with ...": "option scheme
// \"block\", not \"dynamic\"". nullopt when both make the same bytes. A record of another version of octavo may round
// otherwise, so `versions` says whether they must agree (a finished folder needs no second run).
std::optional<std::string> record_difference(const Record& begun, const Record& now, bool versions);
// The same for manifests, files of the source and number of parts included.
std::optional<std::string> manifest_difference(const Manifest& begun, const Manifest& now);

}  // namespace octavo
