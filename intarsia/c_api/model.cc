// Models, and text to tokens and back.
#include "intarsia/c_api/boundary.h"
#include "intarsia/c_api/handles.h"
#include "intarsia/core/in_file.h"

namespace {

using namespace intarsia;         // NOLINT(google-build-using-namespace)
using namespace intarsia::c_api;  // NOLINT(google-build-using-namespace)

intarsia_load_options LoadDefaults() {
  intarsia_load_options options = {};
  options.size = sizeof(options);
  options.device = INTARSIA_CPU;
  return options;
}

Result<const Tokenizer*> TokenizerOf(const intarsia_model* model) {
  if (model == nullptr) return InvalidArgument("[c_api] the model is NULL");
  const Tokenizer* tokenizer = model->shared->opened.tokenizer.get();
  if (tokenizer == nullptr) {
    return NotFound("[c_api] " + model->shared->opened.checkpoint->path() +
                    " has no tokenizer");
  }
  return tokenizer;
}

Status Missing(const char* what) {
  return InvalidArgument(std::string("[c_api] ") + what + " is NULL");
}

Outcome Load(const char* path_or_name, const intarsia_load_options* given,
             intarsia_model** out) {
  if (out == nullptr) return Missing("the place for the model");
  *out = nullptr;
  if (path_or_name == nullptr) return Missing("the model's name");
  const auto options = ReadStruct(given, LoadDefaults());
  if (!options.ok()) return options.status();
  if (options->device != INTARSIA_CPU && options->device != INTARSIA_CUDA) {
    return InvalidArgument("[c_api] no device has the number " +
                           std::to_string(options->device));
  }
  bool cancelled = false;
  LoadOptions load;
  load.pack = options->no_packing == 0;
  load.copy_files = options->no_mapping != 0;
  load.allow_unused = options->allow_unused != 0;
  load.progress = [&](size_t done, size_t total) {
    cancelled = options->progress != nullptr &&
                options->progress(
                    static_cast<double>(done) / static_cast<double>(total),
                    options->user) != 0;
    return !cancelled;
  };
  auto shared = std::make_shared<SharedModel>();
  shared->device = options->device == INTARSIA_CUDA ? Cuda() : Cpu();
  auto opened = OpenModel(path_or_name, load, shared->device);
  if (!opened.ok()) {
    return cancelled ? Outcome(INTARSIA_CANCELLED, opened.status().message())
                     : Outcome(opened.status());
  }
  shared->opened = std::move(opened).value();
  for (const std::string& warning : shared->opened.loaded.warnings) {
    shared->warnings += (shared->warnings.empty() ? "" : "\n") + warning;
  }
  *out = new intarsia_model{std::move(shared)};
  return Status::Ok();
}

intarsia_model_info InfoOf(const OpenedModel& opened) {
  const Model& model = opened.model();
  intarsia_model_info info = {};
  info.vocab_size = model.config().vocab_size;
  info.context = model.config().max_positions;
  for (const std::string& path : model.paths()) {
    const Weight& weight = *model.Find(path);
    info.parameters += weight.shape().numel();
    info.weight_bytes += static_cast<int64_t>(weight.values().nbytes());
  }
  const Tokenizer* tokenizer = opened.tokenizer.get();
  info.has_tokenizer = tokenizer != nullptr;
  info.has_chat_template =
      tokenizer != nullptr && !tokenizer->chat_template().empty();
  info.bos_token =
      tokenizer != nullptr ? tokenizer->bos_id() : model.config().bos_id;
  info.eos_token = tokenizer != nullptr ? tokenizer->eos_id() : -1;
  if (info.eos_token < 0 && !model.config().eos_ids.empty()) {
    info.eos_token = model.config().eos_ids.front();
  }
  return info;
}

Outcome Tokenize(const intarsia_model* model, std::string_view text,
                 uint32_t flags, int32_t* tokens, size_t capacity,
                 size_t* count) {
  if (count == nullptr) return Missing("the place for the count");
  *count = 0;
  const auto tokenizer = TokenizerOf(model);
  if (!tokenizer.ok()) return tokenizer.status();
  if (text.data() == nullptr && !text.empty()) return Missing("the text");
  if (tokens == nullptr && capacity > 0) return Missing("the buffer");
  constexpr uint32_t kKnown = INTARSIA_ADD_SPECIAL | INTARSIA_PARSE_SPECIAL;
  if ((flags & ~kKnown) != 0) {
    return InvalidArgument("[c_api] unknown flags of intarsia_tokenize");
  }
  const auto encoded =
      (*tokenizer)
          ->Encode(text,
                   {.add_special = (flags & INTARSIA_ADD_SPECIAL) != 0,
                    .parse_special = (flags & INTARSIA_PARSE_SPECIAL) != 0});
  if (!encoded.ok()) return encoded.status();
  const std::vector<int32_t>& ids = *encoded;
  *count = ids.size();
  if (ids.size() > capacity) {
    return Outcome(INTARSIA_BUFFER_TOO_SMALL,
                   "[c_api] the text has " + std::to_string(ids.size()) +
                       " tokens, the buffer " + std::to_string(capacity));
  }
  std::copy(ids.begin(), ids.end(), tokens);
  return Status::Ok();
}

// What functions with a buffer for text begin with.
Outcome CheckTextBuffer(const char* text, size_t capacity, size_t* length) {
  if (length == nullptr) return Missing("the place for the length");
  *length = 0;
  if (text == nullptr && capacity > 0) return Missing("the buffer");
  return Status::Ok();
}

Outcome Detokenize(const intarsia_model* model, const int32_t* tokens,
                   size_t count, bool keep_special, char* text, size_t capacity,
                   size_t* length) {
  Outcome buffer = CheckTextBuffer(text, capacity, length);
  if (buffer.code != INTARSIA_OK) return buffer;
  const auto tokenizer = TokenizerOf(model);
  if (!tokenizer.ok()) return tokenizer.status();
  if (tokens == nullptr && count > 0) return Missing("the list of tokens");
  return FillText((*tokenizer)->Decode({tokens, count}, !keep_special), text,
                  capacity, length);
}

Outcome ApplyChatTemplate(const intarsia_model* model,
                          const intarsia_message* messages, size_t count,
                          bool open_answer, char* text, size_t capacity,
                          size_t* length) {
  Outcome buffer = CheckTextBuffer(text, capacity, length);
  if (buffer.code != INTARSIA_OK) return buffer;
  const auto tokenizer = TokenizerOf(model);
  if (!tokenizer.ok()) return tokenizer.status();
  if (messages == nullptr && count > 0) return Missing("the list of messages");
  std::vector<ChatMessage> list;
  for (size_t i = 0; i < count; ++i) {
    if (messages[i].role == nullptr || messages[i].content == nullptr) {
      return Missing("a message's role or content");
    }
    list.push_back({messages[i].role, messages[i].content});
  }
  const auto rendered = InFile(RenderMessages(**tokenizer, list, open_answer),
                               model->shared->opened.checkpoint->path());
  if (!rendered.ok()) return rendered.status();
  return FillText(*rendered, text, capacity, length);
}

}  // namespace

extern "C" {

const char* intarsia_version(void) { return INTARSIA_VERSION; }

const char* intarsia_last_error(void) { return LastError(); }

void intarsia_load_options_init(intarsia_load_options* options, size_t size) {
  WriteStruct(LoadDefaults(), options, size);
}

intarsia_status intarsia_model_load(const char* path_or_name,
                                    const intarsia_load_options* options,
                                    intarsia_model** model) {
  return Guard([&] { return Load(path_or_name, options, model); });
}

void intarsia_model_free(intarsia_model* model) {
  Guard([&]() -> Outcome {
    delete model;
    return Status::Ok();
  });
}

intarsia_status intarsia_model_get_info(const intarsia_model* model,
                                        intarsia_model_info* info,
                                        size_t size) {
  return Guard([&]() -> Outcome {
    if (model == nullptr) return Missing("the model");
    if (info == nullptr) return Missing("the place for the information");
    if (size < sizeof(size_t) || size > kMostStructBytes) {
      return InvalidArgument("[c_api] the size of the information is wrong");
    }
    WriteStruct(InfoOf(model->shared->opened), info, size);
    return Status::Ok();
  });
}

const char* intarsia_model_name(const intarsia_model* model) {
  if (model == nullptr) return "";
  return model->shared->opened.model().config().name.c_str();
}

const char* intarsia_model_warnings(const intarsia_model* model) {
  return model == nullptr ? "" : model->shared->warnings.c_str();
}

intarsia_status intarsia_tokenize(const intarsia_model* model, const char* text,
                                  size_t text_length, uint32_t flags,
                                  int32_t* tokens, size_t capacity,
                                  size_t* count) {
  return Guard([&] {
    return Tokenize(model, {text, text_length}, flags, tokens, capacity, count);
  });
}

intarsia_status intarsia_detokenize(const intarsia_model* model,
                                    const int32_t* tokens, size_t count,
                                    int keep_special, char* text,
                                    size_t capacity, size_t* length) {
  return Guard([&] {
    return Detokenize(model, tokens, count, keep_special != 0, text, capacity,
                      length);
  });
}

intarsia_status intarsia_apply_chat_template(const intarsia_model* model,
                                             const intarsia_message* messages,
                                             size_t count, int open_answer,
                                             char* text, size_t capacity,
                                             size_t* length) {
  return Guard([&] {
    return ApplyChatTemplate(model, messages, count, open_answer != 0, text,
                             capacity, length);
  });
}

}  // extern "C"
