// Flags of the verbs that open a model to compute with it many times.
#pragma once

#include "intarsia/cli/command.h"
#include "intarsia/families/open.h"

namespace intarsia {

struct ServingFlags : CommonFlags {
  bool no_pack = false;

  LoadOptions serving() const {
    LoadOptions options;
    options.pack = !no_pack;
    options.pack_threads = threads;
    return options;
  }
};

// The common flags and these.
inline void AddServing(CLI::App* app, ServingFlags* flags) {
  AddCommon(app, flags);
  app->add_flag(
      "--no-pack", flags->no_pack,
      "Compute on the weights as the file has them, without a copy "
      "in the order that this CPU reads fastest: less memory, slower");
}

}  // namespace intarsia
