// manifest.json of an unfinished output, octavo.json of a finished one. What is read is written and read the same.
#include "fuzz/property.h"
#include "octavo/checkpoint/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  const std::string_view text = fuzz::as_text(data, size);
  const auto record = parse_record(text, "octavo.json");
  if (record.ok()) {
    const auto again = parse_record(format_record(*record), "again");
    fuzz::require(again.ok(), "a record that was written can be read");
    fuzz::require(!record_difference(*record, *again, true), "a record survives");
  } else {
    fuzz::require_readable(record.error().message);
  }
  const auto manifest = parse_manifest(text, "manifest.json");
  if (!manifest.ok()) {
    fuzz::require_readable(manifest.error().message);
    return 0;
  }
  fuzz::require(record.ok(), "a manifest is a record and more");
  const std::string written = format_manifest(*manifest);
  const auto again = parse_manifest(written, "again");
  fuzz::require(again.ok(), "a manifest that was written can be read", written);
  fuzz::require(format_manifest(*again) == written, "a manifest survives", written);
  if (const auto difference = manifest_difference(*manifest, *again)) fuzz::require_readable(*difference);
  Manifest empty;
  const auto difference = manifest_difference(*manifest, empty);
  if (difference) fuzz::require_readable(*difference);
  return 0;
}
