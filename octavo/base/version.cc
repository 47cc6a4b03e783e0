// In a file of its own, so that a new version compiles one file.
#include "octavo/base/version.h"

namespace octavo {

std::string_view version() { return OCTAVO_VERSION; }

}  // namespace octavo
