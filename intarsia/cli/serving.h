// Flags of the verbs that open a model, and how they open it.
#pragma once

#include "intarsia/cli/command.h"
#include "intarsia/families/open.h"
#include "intarsia/families/translate.h"

namespace intarsia {

struct OpeningFlags : CommonFlags {
  bool allow_unused = false;

  LoadOptions opening() const {
    LoadOptions options;
    options.allow_unused = allow_unused;
    return options;
  }
};

// Of those that compute with it many times.
struct ServingFlags : OpeningFlags {
  bool no_pack = false;

  LoadOptions serving() const {
    LoadOptions options = opening();
    options.pack = !no_pack;
    options.pack_threads = threads;
    return options;
  }
};

// The common flags and these.
inline void AddOpening(Verb verb, OpeningFlags* flags) {
  AddCommon(verb, flags);
  verb.Add("--allow-unused", &flags->allow_unused,
           "Go on, with a warning, where tensors or settings of the model "
           "are not used");
}

inline void AddServing(Verb verb, ServingFlags* flags) {
  AddOpening(verb, flags);
  verb.Add("--no-pack", &flags->no_pack,
           "Compute on the weights as the file has them, without a copy "
           "in the order that this CPU reads fastest: less memory, slower");
}

// OpenModel, with its warnings shown.
inline Result<OpenedModel> OpenShown(const std::string& name,
                                     const LoadOptions& options,
                                     Device device) {
  ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(name, options, device));
  WarnAll(opened.loaded.warnings);
  return opened;
}

// For verbs that read a checkpoint tensor by tensor: the same warnings, and an
// error where the model would not use all of it. Of families that are not known
// nothing can be said.
inline Status CheckShown(const Checkpoint& checkpoint,
                         const OpeningFlags& flags) {
  if (!KnowsFamily(checkpoint)) return Status::Ok();
  ASSIGN_OR_RETURN(Translation translated, Translate(checkpoint));
  RETURN_IF_ERROR(CheckUnused(checkpoint, flags.allow_unused, &translated));
  WarnAll(translated.warnings);
  return Status::Ok();
}

}  // namespace intarsia
