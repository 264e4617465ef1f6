/* The C library and the program say the same. */
#define _POSIX_C_SOURCE 200809L
#include <intarsia/intarsia.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char kModel[] = "tests/golden/tiny";
static const char* const kPrompts[] = {"Once", "the state of", "def f(x):"};

static char said[65536];
static size_t length = 0;

static int Listen(const char* text, size_t bytes, void* user) {
  (void)user;
  if (length + bytes >= sizeof(said)) return 1;
  memcpy(said + length, text, bytes + 1);
  length += bytes;
  return 0;
}

static void Ensure(intarsia_status status) {
  if (status == INTARSIA_OK) return;
  fprintf(stderr, "error: %s\n", intarsia_last_error());
  exit(1);
}

/* What the program prints; it ends its answer with a line break. */
static size_t Ask(const char* prompt, const char* flags, char* out,
                  size_t capacity) {
  char command[512];
  FILE* pipe;
  size_t n;
  snprintf(command, sizeof(command),
           "%s generate %s --prompt '%s' --max-tokens 64 %s 2>/dev/null",
           INTARSIA_BINARY, kModel, prompt, flags);
  pipe = popen(command, "r");
  if (pipe == NULL) exit(1);
  n = fread(out, 1, capacity - 1, pipe);
  if (pclose(pipe) != 0 || n == 0) {
    fprintf(stderr, "error: %s\n", command);
    exit(1);
  }
  out[n - 1] = '\0';
  return n - 1;
}

int main(void) {
  static char program[65536];
  intarsia_model* model = NULL;
  intarsia_session* session = NULL;
  size_t i;
  int mode;
  Ensure(intarsia_model_load(kModel, NULL, &model));
  Ensure(intarsia_session_create(model, NULL, &session));
  for (i = 0; i < sizeof(kPrompts) / sizeof(kPrompts[0]); ++i) {
    for (mode = 0; mode < 2; ++mode) {
      int32_t tokens[64];
      size_t count = 0;
      intarsia_generate_options options;
      intarsia_generate_options_init(&options, sizeof(options));
      options.max_tokens = 64;
      options.seed = 7;
      if (mode == 0) options.temperature = 0;
      Ensure(intarsia_tokenize(model, kPrompts[i], strlen(kPrompts[i]),
                               INTARSIA_ADD_SPECIAL | INTARSIA_PARSE_SPECIAL,
                               tokens, 64, &count));
      length = 0;
      said[0] = '\0';
      Ensure(intarsia_generate(session, tokens, count, &options, Listen, NULL,
                               NULL, 0));
      Ask(kPrompts[i], mode == 0 ? "--temperature 0" : "--seed 7", program,
          sizeof(program));
      if (length == 0 || strcmp(said, program) != 0) {
        fprintf(stderr, "%s\nlibrary: %s\nprogram: %s\n", kPrompts[i], said,
                program);
        return 1;
      }
    }
  }
  intarsia_session_free(session);
  intarsia_model_free(model);
  return 0;
}
