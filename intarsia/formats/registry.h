// The rooms of registry.def: formats::q4_1() and so on, one object each, made
// on first use and never destroyed.
#pragma once

#include "intarsia/formats/format.h"

namespace intarsia::formats {

#define FORMAT(name) const Format& name();
#include "intarsia/formats/registry.def"
#undef FORMAT

}  // namespace intarsia::formats
