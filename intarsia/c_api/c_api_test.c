/* The C library from C: errors, tokens, answers, threads, lifetimes. */
#define _XOPEN_SOURCE 700
#include <intarsia/intarsia.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char kTiny[] = "tests/golden/tiny";        /* with a tokenizer */
static const char kBare[] = "tests/golden/mistral_swa"; /* without */
static const char kPrompt[] = "the state of";

static int failures = 0;

#define EXPECT(condition)                                                    \
  do {                                                                       \
    if (!(condition)) {                                                      \
      fprintf(stderr, "%s:%d: %s does not hold; last error: %s\n", __FILE__, \
              __LINE__, #condition, intarsia_last_error());                  \
      ++failures;                                                            \
    }                                                                        \
  } while (0)

/* `call` fails with `code`, and a message that contains `words`. */
#define EXPECT_ERROR(call, code, words)                     \
  do {                                                      \
    const intarsia_status status_ = (call);                 \
    EXPECT(status_ == (code));                              \
    EXPECT(strstr(intarsia_last_error(), (words)) != NULL); \
  } while (0)

typedef struct {
  char text[4096];
  size_t length;
  int pieces, stop_after; /* 0: never */
  int whole;              /* each piece was whole characters, NUL at its end */
} Heard;

static int Listen(const char* text, size_t length, void* user) {
  Heard* heard = user;
  if (heard->length + length < sizeof(heard->text)) {
    memcpy(heard->text + heard->length, text, length);
    heard->length += length;
    heard->text[heard->length] = '\0';
  }
  ++heard->pieces;
  if (heard->pieces == 1) heard->whole = 1;
  if (length == 0 || text[length] != '\0' || (text[0] & 0xC0) == 0x80) {
    heard->whole = 0;
  }
  return heard->pieces == heard->stop_after;
}

static intarsia_model* LoadTiny(void) {
  intarsia_model* model = NULL;
  EXPECT(intarsia_model_load(kTiny, NULL, &model) == INTARSIA_OK);
  if (model == NULL) exit(1);
  return model;
}

static intarsia_session* Open(const intarsia_model* model, int threads) {
  intarsia_session_options options;
  intarsia_session* session = NULL;
  intarsia_session_options_init(&options, sizeof(options));
  options.threads = threads;
  options.context = 512;
  EXPECT(intarsia_session_create(model, &options, &session) == INTARSIA_OK);
  if (session == NULL) exit(1);
  return session;
}

static size_t Tokens(const intarsia_model* model, const char* text,
                     int32_t* tokens, size_t capacity) {
  size_t count = 0;
  EXPECT(intarsia_tokenize(model, text, strlen(text),
                           INTARSIA_ADD_SPECIAL | INTARSIA_PARSE_SPECIAL,
                           tokens, capacity, &count) == INTARSIA_OK);
  return count;
}

static intarsia_generate_options Greedy(int max_tokens) {
  intarsia_generate_options options;
  intarsia_generate_options_init(&options, sizeof(options));
  options.temperature = 0;
  options.max_tokens = max_tokens;
  return options;
}

/* The greedy answer to `prompt`, by a session of its own. */
static Heard Answer(const intarsia_model* model, const char* prompt,
                    int max_tokens, int threads) {
  Heard heard = {"", 0, 0, 0, 0};
  int32_t tokens[256];
  const size_t count = Tokens(model, prompt, tokens, 256);
  intarsia_session* session = Open(model, threads);
  const intarsia_generate_options options = Greedy(max_tokens);
  EXPECT(intarsia_generate(session, tokens, count, &options, Listen, &heard,
                           NULL, 0) == INTARSIA_OK);
  intarsia_session_free(session);
  return heard;
}

static int Never(double fraction, void* user) {
  ++*(int*)user;
  return fraction > 0.1;
}

static void TestLoading(void) {
  intarsia_model* model = (intarsia_model*)&failures;
  intarsia_load_options options;
  int calls = 0;
  EXPECT(strcmp(intarsia_last_error(), "") == 0);
  EXPECT(strlen(intarsia_version()) >= 5);
  EXPECT_ERROR(intarsia_model_load("no/such/model", NULL, &model),
               INTARSIA_NOT_FOUND, "no/such/model");
  EXPECT(model == NULL);
  EXPECT_ERROR(intarsia_model_load("tests/golden/README.md", NULL, &model),
               INTARSIA_INVALID_ARGUMENT, "README.md");
  EXPECT_ERROR(intarsia_model_load(NULL, NULL, &model),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(intarsia_model_load(kTiny, NULL, NULL),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  intarsia_load_options_init(&options, sizeof(options));
  options.device = 7;
  EXPECT_ERROR(intarsia_model_load(kTiny, &options, &model),
               INTARSIA_INVALID_ARGUMENT, "device");
  intarsia_load_options_init(&options, sizeof(options));
  options.progress = Never;
  options.user = &calls;
  EXPECT_ERROR(intarsia_model_load(kTiny, &options, &model), INTARSIA_CANCELLED,
               "cancelled");
  EXPECT(model == NULL && calls > 1);
  intarsia_model_free(NULL);
  intarsia_session_free(NULL);
  EXPECT(strcmp(intarsia_model_name(NULL), "") == 0);
  EXPECT(strcmp(intarsia_model_warnings(NULL), "") == 0);
}

static void TestInfo(void) {
  intarsia_model* model = LoadTiny();
  intarsia_model_info info;
  int32_t first[4] = {0, 0, 0, 77}; /* a caller that knows two fields */
  memset(&info, 0, sizeof(info));
  EXPECT(intarsia_model_get_info(model, &info, sizeof(info)) == INTARSIA_OK);
  EXPECT(info.size == sizeof(info));
  EXPECT(info.vocab_size > 10 && info.parameters > 100000);
  EXPECT(info.weight_bytes >= 2 * info.parameters);
  EXPECT(info.has_tokenizer == 1 && info.has_chat_template == 1);
  EXPECT(intarsia_model_get_info(model, (intarsia_model_info*)first, 12) ==
         INTARSIA_OK);
  EXPECT(first[2] == info.vocab_size && first[3] == 77);
  EXPECT_ERROR(intarsia_model_get_info(model, &info, 0),
               INTARSIA_INVALID_ARGUMENT, "size");
  EXPECT_ERROR(intarsia_model_get_info(NULL, &info, sizeof(info)),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  intarsia_model_free(model);
}

static void TestTokens(void) {
  intarsia_model* model = LoadTiny();
  intarsia_model* bare = NULL;
  const char* texts[] = {"", "the room", "a\nb  c",
                         "na\xC3\xAFve \xE2\x82\xAC"};
  size_t i, count, length;
  int32_t tokens[64];
  char text[64];
  for (i = 0; i < sizeof(texts) / sizeof(texts[0]); ++i) {
    size_t asked = 99;
    const intarsia_status status = intarsia_tokenize(
        model, texts[i], strlen(texts[i]), 0, NULL, 0, &asked);
    EXPECT(status ==
           (texts[i][0] == 0 ? INTARSIA_OK : INTARSIA_BUFFER_TOO_SMALL));
    EXPECT(intarsia_tokenize(model, texts[i], strlen(texts[i]), 0, tokens, 64,
                             &count) == INTARSIA_OK);
    EXPECT(count == asked);
    EXPECT(intarsia_detokenize(model, tokens, count, 0, text, sizeof(text),
                               &length) == INTARSIA_OK);
    EXPECT(length == strlen(text));
    if (i < 3) EXPECT(strcmp(text, texts[i]) == 0);
    /* The NUL needs its place too. */
    EXPECT_ERROR(
        intarsia_detokenize(model, tokens, count, 0, text, length, &length),
        INTARSIA_BUFFER_TOO_SMALL, "buffer");
  }
  tokens[0] = -5;
  tokens[1] = 1 << 30;
  EXPECT(intarsia_detokenize(model, tokens, 2, 0, text, sizeof(text),
                             &length) == INTARSIA_OK);
  EXPECT(length == 0);
  EXPECT_ERROR(intarsia_tokenize(model, "a", 1, 64, tokens, 64, &count),
               INTARSIA_INVALID_ARGUMENT, "flags");
  EXPECT_ERROR(intarsia_tokenize(model, NULL, 1, 0, tokens, 64, &count),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(intarsia_tokenize(model, "a", 1, 0, NULL, 64, &count),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(intarsia_tokenize(model, "a", 1, 0, tokens, 64, NULL),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(intarsia_tokenize(NULL, "a", 1, 0, tokens, 64, &count),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(intarsia_detokenize(model, NULL, 1, 0, text, 64, &length),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  EXPECT(intarsia_model_load(kBare, NULL, &bare) == INTARSIA_OK);
  EXPECT_ERROR(intarsia_tokenize(bare, "a", 1, 0, tokens, 64, &count),
               INTARSIA_NOT_FOUND, "no tokenizer");
  intarsia_model_free(bare);
  intarsia_model_free(model);
}

static void TestChatTemplate(void) {
  intarsia_model* model = LoadTiny();
  const intarsia_message messages[] = {{"system", "be brief"},
                                       {"user", "hello"}};
  const intarsia_message empty = {"user", NULL};
  char text[64];
  size_t length = 0;
  EXPECT(intarsia_apply_chat_template(model, messages, 2, 1, text, 64,
                                      &length) == INTARSIA_OK);
  EXPECT(strcmp(text, "be brief\nhello\n") == 0 && length == 15);
  EXPECT_ERROR(
      intarsia_apply_chat_template(model, &empty, 1, 1, text, 64, &length),
      INTARSIA_INVALID_ARGUMENT, "content");
  EXPECT_ERROR(
      intarsia_apply_chat_template(model, messages, 2, 1, NULL, 0, &length),
      INTARSIA_BUFFER_TOO_SMALL, "buffer");
  EXPECT(length == 15);
  intarsia_model_free(model);
}

static void TestAnswers(void) {
  intarsia_model* model = LoadTiny();
  intarsia_session* session = Open(model, 1);
  intarsia_generate_options options = Greedy(40);
  intarsia_generate_result result;
  const Heard all = Answer(model, kPrompt, 40, 1);
  Heard heard = {"", 0, 0, 0, 0};
  int32_t tokens[256];
  const char* stops[1];
  char stop[3];
  const size_t count = Tokens(model, kPrompt, tokens, 256);
  EXPECT(all.length >= 40 && all.whole);

  /* From the callback: nothing comes after its refusal. */
  heard.stop_after = 3;
  EXPECT(intarsia_generate(session, tokens, count, &options, Listen, &heard,
                           &result, sizeof(result)) == INTARSIA_OK);
  EXPECT(heard.pieces == 3 && result.generated_tokens == 3);
  EXPECT(result.finish == INTARSIA_FINISH_CANCELLED);
  EXPECT(strncmp(heard.text, all.text, heard.length) == 0);

  /* By a stop text, which is not part of the answer. */
  memcpy(stop, all.text + 10, 2);
  stop[2] = '\0';
  stops[0] = stop;
  options.stops = stops;
  options.stop_count = 1;
  memset(&heard, 0, sizeof(heard));
  EXPECT(intarsia_generate(session, tokens, count, &options, Listen, &heard,
                           &result, sizeof(result)) == INTARSIA_OK);
  EXPECT(result.finish == INTARSIA_FINISH_STOP);
  EXPECT(strstr(heard.text, stop) == NULL);
  EXPECT(strncmp(heard.text, all.text, heard.length) == 0);

  /* A prompt that goes on from the last answer runs only what is new. */
  options = Greedy(8);
  EXPECT(intarsia_session_reset(session) == INTARSIA_OK);
  memset(&heard, 0, sizeof(heard));
  EXPECT(intarsia_generate(session, tokens, count, &options, Listen, &heard,
                           &result, sizeof(result)) == INTARSIA_OK);
  EXPECT(result.finish == INTARSIA_FINISH_LENGTH && result.reused_tokens == 0);
  EXPECT(result.prompt_tokens == (int64_t)count);
  {
    char longer[256];
    int32_t more[256];
    size_t n;
    snprintf(longer, sizeof(longer), "%s%s", kPrompt, heard.text);
    n = Tokens(model, longer, more, 256);
    memset(&heard, 0, sizeof(heard));
    EXPECT(intarsia_generate(session, more, n, &options, Listen, &heard,
                             &result, sizeof(result)) == INTARSIA_OK);
    EXPECT(result.reused_tokens == (int64_t)n - 1 && result.prompt_tokens == 1);
    EXPECT(strncmp(heard.text, all.text + 8, 8) == 0);
  }
  /* Without a callback, options or a result. */
  options = Greedy(2);
  EXPECT(intarsia_generate(session, tokens, count, &options, NULL, NULL, NULL,
                           0) == INTARSIA_OK);
  intarsia_session_free(session);
  intarsia_model_free(model);
}

/* A caller's mistakes are errors, after which the session still works. */
static void TestMistakes(void) {
  intarsia_model* model = LoadTiny();
  intarsia_model* bare = NULL;
  intarsia_session* session = Open(model, 1);
  intarsia_session* none = (intarsia_session*)&failures;
  intarsia_session_options wrong;
  intarsia_generate_options options = Greedy(4);
  intarsia_logit_bias bias = {1 << 20, 1.0f};
  int32_t tokens[600];
  const size_t count = Tokens(model, kPrompt, tokens, 256);
  const int32_t outside = 1 << 20;
  struct {
    intarsia_generate_options known;
    int64_t later;
  } newer;
  memset(tokens + count, 0, (600 - count) * sizeof(tokens[0]));

  EXPECT_ERROR(intarsia_session_create(NULL, NULL, &none),
               INTARSIA_INVALID_ARGUMENT, "NULL");
  EXPECT(none == NULL);
  intarsia_session_options_init(&wrong, sizeof(wrong));
  wrong.threads = -1;
  EXPECT_ERROR(intarsia_session_create(model, &wrong, &none),
               INTARSIA_INVALID_ARGUMENT, "threads");
  intarsia_session_options_init(&wrong, sizeof(wrong));
  wrong.context = -1;
  EXPECT_ERROR(intarsia_session_create(model, &wrong, &none),
               INTARSIA_INVALID_ARGUMENT, "context");
  wrong.size = 0;
  EXPECT_ERROR(intarsia_session_create(model, &wrong, &none),
               INTARSIA_INVALID_ARGUMENT, "_init");
  EXPECT(intarsia_model_load(kBare, NULL, &bare) == INTARSIA_OK);
  EXPECT_ERROR(intarsia_session_create(bare, NULL, &none), INTARSIA_NOT_FOUND,
               "no tokenizer");
  intarsia_model_free(bare);

#define RUN(prompt, n) \
  intarsia_generate(session, (prompt), (n), &options, NULL, NULL, NULL, 0)
  EXPECT_ERROR(RUN(NULL, 3), INTARSIA_INVALID_ARGUMENT, "no tokens");
  EXPECT_ERROR(RUN(tokens, 0), INTARSIA_INVALID_ARGUMENT, "no tokens");
  EXPECT_ERROR(RUN(&outside, 1), INTARSIA_INVALID_ARGUMENT, "vocabulary");
  EXPECT_ERROR(RUN(tokens, 600), INTARSIA_INVALID_ARGUMENT, "512");
  options.max_tokens = 0;
  EXPECT_ERROR(RUN(tokens, count), INTARSIA_INVALID_ARGUMENT, "max_tokens");
  options = Greedy(4);
  options.top_p = -1;
  EXPECT_ERROR(RUN(tokens, count), INTARSIA_INVALID_ARGUMENT, "top-p");
  options = Greedy(4);
  options.stop_count = 1;
  EXPECT_ERROR(RUN(tokens, count), INTARSIA_INVALID_ARGUMENT, "stops");
  options = Greedy(4);
  options.logit_bias = &bias;
  options.logit_bias_count = 1;
  EXPECT_ERROR(RUN(tokens, count), INTARSIA_INVALID_ARGUMENT, "logit bias");
  EXPECT_ERROR(
      intarsia_generate(NULL, tokens, count, NULL, NULL, NULL, NULL, 0),
      INTARSIA_INVALID_ARGUMENT, "NULL");
  options = Greedy(4);
  EXPECT(RUN(tokens, count) == INTARSIA_OK);
#undef RUN

  /* What a newer header sets is refused, what it leaves 0 is not. */
  intarsia_generate_options_init(&newer.known, sizeof(newer));
  newer.known.max_tokens = 2;
  EXPECT(newer.known.size == sizeof(newer) && newer.later == 0);
  EXPECT(intarsia_generate(session, tokens, count, &newer.known, NULL, NULL,
                           NULL, 0) == INTARSIA_OK);
  newer.later = 1;
  EXPECT_ERROR(intarsia_generate(session, tokens, count, &newer.known, NULL,
                                 NULL, NULL, 0),
               INTARSIA_UNSUPPORTED, "newer");
  intarsia_session_free(session);
  intarsia_model_free(model);
}

typedef struct {
  intarsia_session* session;
  int32_t tokens[1];
  intarsia_status inside;
} Reentry;

static int CallAgain(const char* text, size_t length, void* user) {
  Reentry* reentry = user;
  (void)text;
  (void)length;
  reentry->inside = intarsia_generate(reentry->session, reentry->tokens, 1,
                                      NULL, NULL, NULL, NULL, 0);
  intarsia_session_free(reentry->session); /* refused as well */
  return 1;
}

static void TestReentry(void) {
  intarsia_model* model = LoadTiny();
  Reentry reentry = {NULL, {1}, INTARSIA_OK};
  const intarsia_generate_options options = Greedy(4);
  reentry.session = Open(model, 1);
  EXPECT(intarsia_generate(reentry.session, reentry.tokens, 1, &options,
                           CallAgain, &reentry, NULL, 0) == INTARSIA_OK);
  EXPECT(reentry.inside == INTARSIA_BUSY);
  /* The session holds the model. */
  intarsia_model_free(model);
  EXPECT(intarsia_generate(reentry.session, reentry.tokens, 1, &options, NULL,
                           NULL, NULL, 0) == INTARSIA_OK);
  intarsia_session_free(reentry.session);
}

typedef struct {
  const intarsia_model* model;
  const char* prompt;
  int threads;
  Heard heard;
  int own_error; /* the message was that of this thread's mistake */
} Worker;

static void* Work(void* argument) {
  Worker* worker = argument;
  size_t count = 0;
  int round;
  intarsia_tokenize(worker->model, worker->prompt, 1, 0, NULL, 1, &count);
  for (round = 0; round < 3; ++round) {
    worker->heard = Answer(worker->model, worker->prompt, 24, worker->threads);
  }
  worker->own_error = strstr(intarsia_last_error(), "buffer is NULL") != NULL;
  return NULL;
}

/* Without a mapping, a file that is cut short changes nothing. */
static void TestAFileThatShrinks(void) {
  char folder[] = "/tmp/intarsia_c_api_XXXXXX", text[128];
  intarsia_model *model = NULL, *tiny = LoadTiny();
  intarsia_load_options options;
  Heard kept, expected;
  EXPECT(mkdtemp(folder) != NULL);
  snprintf(text, sizeof(text), "cp %s/* %s", kTiny, folder);
  EXPECT(system(text) == 0);
  intarsia_load_options_init(&options, sizeof(options));
  options.no_mapping = 1;
  options.no_packing = 1;
  EXPECT(intarsia_model_load(folder, &options, &model) == INTARSIA_OK);
  snprintf(text, sizeof(text), "%s/model.safetensors", folder);
  EXPECT(truncate(text, 0) == 0);
  kept = Answer(model, kPrompt, 24, 2);
  expected = Answer(tiny, kPrompt, 24, 2);
  EXPECT(strcmp(kept.text, expected.text) == 0);
  intarsia_model_free(model);
  intarsia_model_free(tiny);
  snprintf(text, sizeof(text), "rm -r %s", folder);
  EXPECT(system(text) == 0);
}

static void TestThreads(void) {
  intarsia_model* model = LoadTiny();
  Worker workers[2];
  pthread_t threads[2];
  int i;
  memset(workers, 0, sizeof(workers));
  for (i = 0; i < 2; ++i) {
    workers[i].model = model;
    workers[i].prompt = i == 0 ? kPrompt : "a matrix is";
    workers[i].threads = i + 1;
    EXPECT(pthread_create(&threads[i], NULL, Work, &workers[i]) == 0);
  }
  for (i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  for (i = 0; i < 2; ++i) {
    const Heard alone = Answer(model, workers[i].prompt, 24, 1);
    EXPECT(strcmp(alone.text, workers[i].heard.text) == 0);
    EXPECT(alone.length >= 24 && workers[i].own_error);
  }
  intarsia_model_free(model);
}

int main(void) {
  TestLoading();
  TestInfo();
  TestTokens();
  TestChatTemplate();
  TestAnswers();
  TestMistakes();
  TestReentry();
  TestThreads();
  TestAFileThatShrinks();
  if (failures > 0) fprintf(stderr, "%d expectations failed\n", failures);
  return failures > 0;
}
