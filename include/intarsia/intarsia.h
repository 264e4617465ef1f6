/* libintarsia: load a model, turn text into tokens and back, generate.
 *
 *   intarsia_model    weights and tokenizer. Immutable: any number of threads
 *                     may use one, and sessions share it.
 *   intarsia_session  one sequence with its state and its team of threads. One
 *                     call at a time; sessions of one model run side by side
 *                     (on a GPU they take turns).
 *
 * Errors. A function that can fail returns an intarsia_status. When that is not
 * INTARSIA_OK, intarsia_last_error() says why, on the thread that called. A
 * mistake in the arguments is an error like any other: nothing here aborts,
 * prints, or throws into the caller.
 *
 * Text is UTF-8 with a length in bytes; malformed input is read as U+FFFD. What
 * comes out is always valid UTF-8, and ends with a NUL that no length counts.
 *
 * Buffers belong to the caller. A function that fills one takes its capacity
 * and writes the length needed to *length (or *count), whether it fits or not.
 * Where it does not fit the buffer's contents are unspecified and the call
 * returns INTARSIA_BUFFER_TOO_SMALL; a NULL buffer of capacity 0 only asks.
 *
 * Structs begin with their size, so that they can grow: call the _init function
 * with sizeof, then set fields. A NULL pointer to options means the defaults.
 * Members are added at the end only; enum values and defaults stay. Choices in
 * options are int32_t, so that a number this version does not know is an error:
 * an enum that held it would be undefined in C++.
 *
 * Callbacks run on the thread that made the call, and return 0 to go on. They
 * may use the model, and other sessions, but not the session that called them.
 */
#ifndef INTARSIA_INTARSIA_H_
#define INTARSIA_INTARSIA_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) || !defined(__GNUC__)
#define INTARSIA_API
#else
#define INTARSIA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum intarsia_status {
  INTARSIA_OK = 0,
  INTARSIA_INVALID_ARGUMENT = 1, /* malformed or contradictory input */
  INTARSIA_NOT_FOUND = 2,        /* a file, name or part that does not exist */
  INTARSIA_UNSUPPORTED = 3,      /* well-formed, but not for this build */
  INTARSIA_DATA_LOSS = 4,        /* truncated or corrupt data */
  INTARSIA_UNAVAILABLE = 5,      /* device or memory; may work later */
  INTARSIA_BUFFER_TOO_SMALL = 6, /* the length needed was written */
  INTARSIA_CANCELLED = 7,        /* a progress callback said so */
  INTARSIA_BUSY = 8,             /* the session is in another call */
  INTARSIA_INTERNAL = 9          /* a fault of the library; please report it */
} intarsia_status;

typedef struct intarsia_model intarsia_model;
typedef struct intarsia_session intarsia_session;

/* "0.1.0". Versions of one major number (of one minor number before 1.0) are
 * compatible. */
INTARSIA_API const char* intarsia_version(void);

/* Why the last call on this thread that failed did; "" if none has. Valid until
 * the next call on this thread. */
INTARSIA_API const char* intarsia_last_error(void);

/* ---- Models ------------------------------------------------------------ */

typedef enum intarsia_device {
  INTARSIA_CPU = 0,
  INTARSIA_CUDA = 1
} intarsia_device;

/* `fraction`: of the weights' tensors, 0 to 1. Anything but 0 ends the load. */
typedef int (*intarsia_progress_callback)(double fraction, void* user);

typedef struct intarsia_load_options {
  size_t size;
  int32_t device;                      /* an intarsia_device: INTARSIA_CPU */
  intarsia_progress_callback progress; /* NULL */
  void* user;                          /* for the callback */
  int32_t no_packing;   /* 0; else no copy of the weights is made in the order
                           that this CPU reads fastest: less memory, slower */
  int32_t no_mapping;   /* 0; else files are read into memory at once. A mapped
                           file that another process cuts short raises SIGBUS
                           when it is touched, which ends the process unless it
                           handles that: the library installs no handlers.
                           Replacing a model's file by rename is always safe. */
  int32_t allow_unused; /* 0; else tensors and settings of the model that this
                           library does not use are warnings, not an error */
} intarsia_load_options;

INTARSIA_API void intarsia_load_options_init(intarsia_load_options* options,
                                             size_t size);

/* `path_or_name`: a folder with config.json or intarsia.json, a .gguf or
 * .safetensors file, or the name of a model that `intarsia pull` fetched. On
 * success *model is the caller's to free, else it is NULL. */
INTARSIA_API intarsia_status intarsia_model_load(
    const char* path_or_name, const intarsia_load_options* options,
    intarsia_model** model);

/* NULL is allowed. Sessions of the model stay usable; its memory goes with the
 * last of them. */
INTARSIA_API void intarsia_model_free(intarsia_model* model);

typedef struct intarsia_model_info {
  size_t size;
  int32_t vocab_size;    /* rows of logits; a tokenizer may have fewer */
  int32_t context;       /* positions it was trained for; 0: no limit known */
  int64_t parameters;    /* numbers in all weights */
  int64_t weight_bytes;  /* as held in memory */
  int32_t has_tokenizer; /* 0 or 1 */
  int32_t has_chat_template; /* 0 or 1 */
  int32_t bos_token;         /* begins a text; -1: none */
  int32_t eos_token;         /* ends it; -1: none */
} intarsia_model_info;

/* Fills the first `size` bytes of *info; `size` is its sizeof. */
INTARSIA_API intarsia_status intarsia_model_get_info(
    const intarsia_model* model, intarsia_model_info* info, size_t size);

/* Its own name for itself; "" if it has none. Lives as long as the model. */
INTARSIA_API const char* intarsia_model_name(const intarsia_model* model);

/* What was noticed when it was loaded, a line each: parts that are skipped,
 * settings that are not known, what `allow_unused` let pass. "" if nothing was.
 * Lives as long as the model.
 */
INTARSIA_API const char* intarsia_model_warnings(const intarsia_model* model);

/* ---- Text and tokens --------------------------------------------------- */

/* Flags of intarsia_tokenize. */
enum {
  /* Begin and end as the model was trained to. Not for what
   * intarsia_apply_chat_template wrote, which has its own beginning. */
  INTARSIA_ADD_SPECIAL = 1,
  /* "<|im_start|>" in the text is that token, not ten characters. */
  INTARSIA_PARSE_SPECIAL = 2
};

INTARSIA_API intarsia_status intarsia_tokenize(const intarsia_model* model,
                                               const char* text,
                                               size_t text_length,
                                               uint32_t flags, int32_t* tokens,
                                               size_t capacity, size_t* count);

/* Special tokens give no text, unless `keep_special`. `capacity` counts the NUL
 * at the end, *length does not. */
INTARSIA_API intarsia_status intarsia_detokenize(const intarsia_model* model,
                                                 const int32_t* tokens,
                                                 size_t count, int keep_special,
                                                 char* text, size_t capacity,
                                                 size_t* length);

typedef struct intarsia_message {
  const char* role;    /* NUL-terminated: "system", "user", "assistant" */
  const char* content; /* NUL-terminated */
} intarsia_message;

/* The conversation as the model's template writes it, with the opening of the
 * assistant's turn if `open_answer`. INTARSIA_NOT_FOUND: it has no template. */
INTARSIA_API intarsia_status intarsia_apply_chat_template(
    const intarsia_model* model, const intarsia_message* messages, size_t count,
    int open_answer, char* text, size_t capacity, size_t* length);

/* ---- Sessions ---------------------------------------------------------- */

typedef struct intarsia_session_options {
  size_t size;
  int32_t threads; /* 0: all processors this process may use */
  /* Most tokens; 0: as trained, at most 8192. Memory is taken as they come; a
   * context that is more than what is free is INTARSIA_UNAVAILABLE. A model
   * with learned positions ends with them, whatever is given here. */
  int32_t context;
} intarsia_session_options;

INTARSIA_API void intarsia_session_options_init(
    intarsia_session_options* options, size_t size);

INTARSIA_API intarsia_status intarsia_session_create(
    const intarsia_model* model, const intarsia_session_options* options,
    intarsia_session** session);

/* NULL is allowed. From within the session's own callback it does nothing but
 * set the last error. */
INTARSIA_API void intarsia_session_free(intarsia_session* session);

typedef struct intarsia_logit_bias {
  int32_t token;
  float bias; /* added to the logit; -INFINITY forbids the token */
} intarsia_logit_bias;

/* The defaults are those of `intarsia generate`, whose --help says what each
 * does. Pointers are read during the call only. */
typedef struct intarsia_generate_options {
  size_t size;
  int32_t max_tokens;         /* 256 */
  int32_t ignore_eos;         /* 0; else goes on past the end of the answer */
  float temperature;          /* 0.7; 0 takes the likeliest token */
  int32_t top_k;              /* 40; 0: off */
  float top_p;                /* 0.95; 1: off */
  float min_p;                /* 0.05; 0: off */
  float typical_p;            /* 1: off */
  float repeat_penalty;       /* 1: off */
  float presence_penalty;     /* 0: off */
  float frequency_penalty;    /* 0: off */
  int32_t repeat_last;        /* 64 tokens; -1: all */
  float dry_multiplier;       /* 0: off */
  float dry_base;             /* 1.75 */
  int32_t dry_allowed_length; /* 2 */
  int32_t dry_last;           /* -1: all */
  uint64_t seed;              /* 0; the same seed gives the same text */
  const char* const* stops;   /* NUL-terminated texts that end the answer */
  size_t stop_count;          /* 0: the model's own, if it has any */
  const intarsia_logit_bias* logit_bias;
  size_t logit_bias_count; /* 0 */
} intarsia_generate_options;

INTARSIA_API void intarsia_generate_options_init(
    intarsia_generate_options* options, size_t size);

/* A piece of the answer: whole characters, `length` bytes and a NUL. Valid
 * during the call. Anything but 0 ends the answer after this piece. */
typedef int (*intarsia_text_callback)(const char* text, size_t length,
                                      void* user);

typedef enum intarsia_finish {
  INTARSIA_FINISH_STOP = 0,     /* the model, or a stop text, ended it */
  INTARSIA_FINISH_LENGTH = 1,   /* max_tokens, or the context is full */
  INTARSIA_FINISH_CANCELLED = 2 /* the callback ended it */
} intarsia_finish;

typedef struct intarsia_generate_result {
  size_t size;
  intarsia_finish finish;
  int64_t prompt_tokens; /* that were run */
  int64_t reused_tokens; /* of the prompt, that the state had seen before */
  int64_t generated_tokens;
  double prefill_seconds;
  double decode_seconds; /* of the steps after the first token */
} intarsia_generate_result;

/* Continues `prompt`, the whole sequence so far from its first token on. The
 * session keeps its state: when a prompt goes on from what the state has seen
 * (the last prompt and its answer), only the rest is run. An error forgets the
 * state. `callback` may be NULL; so may `result`, whose first `result_size`
 * bytes are filled. */
INTARSIA_API intarsia_status intarsia_generate(
    intarsia_session* session, const int32_t* prompt, size_t prompt_count,
    const intarsia_generate_options* options, intarsia_text_callback callback,
    void* user, intarsia_generate_result* result, size_t result_size);

/* Forgets the state; the next prompt runs from its beginning. */
INTARSIA_API intarsia_status intarsia_session_reset(intarsia_session* session);

#ifdef __cplusplus
}
#endif

#endif /* INTARSIA_INTARSIA_H_ */
