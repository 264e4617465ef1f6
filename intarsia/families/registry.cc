#include <algorithm>

#include "intarsia/families/family.h"

namespace intarsia {

#define FAMILY(name, Name) Family Name##Family();
#include "intarsia/families/registry.def"
#undef FAMILY

const std::vector<Family>& Families() {
  static const auto* families = new std::vector<Family>{
#define FAMILY(name, Name) Name##Family(),
#include "intarsia/families/registry.def"
#undef FAMILY
  };
  return *families;
}

const Family* FindFamily(const std::string& model_type) {
  for (const Family& family : Families()) {
    if (std::ranges::count(family.model_types, model_type) > 0) return &family;
  }
  return nullptr;
}

const Family* FindGgufFamily(const std::string& architecture) {
  for (const Family& family : Families()) {
    if (family.from_gguf != nullptr &&
        std::ranges::count(family.gguf_architectures, architecture) > 0) {
      return &family;
    }
  }
  return nullptr;
}

}  // namespace intarsia
