/* hello MODEL PROMPT: a model answers, through the C library.
 *
 *   cc hello.c -o hello $(pkg-config --cflags --libs intarsia)
 */
#include <intarsia/intarsia.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int Print(const char* text, size_t length, void* user) {
  fwrite(text, 1, length, user);
  return fflush(user); /* 0: go on */
}

static void Ensure(intarsia_status status) {
  if (status == INTARSIA_OK) return;
  fprintf(stderr, "error: %s\n", intarsia_last_error());
  exit(1);
}

int main(int argc, char** argv) {
  intarsia_model* model;
  intarsia_session* session;
  intarsia_generate_options options;
  int32_t tokens[1024];
  size_t count;
  if (argc != 3) {
    fprintf(stderr, "usage: hello MODEL PROMPT\n");
    return 2;
  }
  Ensure(intarsia_model_load(argv[1], NULL, &model));
  Ensure(intarsia_session_create(model, NULL, &session));
  Ensure(intarsia_tokenize(model, argv[2], strlen(argv[2]),
                           INTARSIA_ADD_SPECIAL, tokens, 1024, &count));
  intarsia_generate_options_init(&options, sizeof(options));
  options.max_tokens = 64;
  Ensure(intarsia_generate(session, tokens, count, &options, Print, stdout,
                           NULL, 0));
  puts("");
  intarsia_session_free(session);
  intarsia_model_free(model);
  return 0;
}
