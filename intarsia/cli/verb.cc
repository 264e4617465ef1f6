#include "intarsia/cli/verb.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>

#include "intarsia/core/check.h"
#include "intarsia/core/terminal_text.h"

namespace intarsia {

struct CommandLine::Parser {
  explicit Parser(const std::string& about) : app(about) {}

  CLI::App app;
  std::map<const CLI::App*, std::function<Status()>> runs;
};

namespace {

CLI::Validator WholeNumber(Whole range) {
  const auto [low, high] = range;
  const std::string words = std::to_string(low) + " to " + std::to_string(high);
  const auto wrong = [low = low, high = high, words](const std::string& text) {
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    bool in_range = false;
    std::from_chars_result parsed{};
    if (text.starts_with('-')) {
      int64_t value = 0;
      parsed = std::from_chars(begin, end, value);
      in_range = value >= low && value <= 0;
    } else {
      uint64_t value = 0;
      parsed = std::from_chars(begin, end, value);
      in_range = value <= high && (low <= 0 || value >= uint64_t(low));
    }
    // A leading zero would make the parser read octal.
    const bool octal = text.size() > 1 && text[text[0] == '-' ? 1 : 0] == '0';
    return parsed.ec == std::errc() && parsed.ptr == end && in_range && !octal
               ? std::string()
               : "'" + TerminalLine(text, {.most = 60}) +
                     "' is not a whole number from " + words;
  };
  return CLI::Validator(wrong, "INT in [" + words + "]");
}

// The parser's own conversion takes "nan" and nothing at all.
CLI::Validator FiniteNumber() {
  const auto wrong = [](const std::string& text) {
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    return parsed.ec == std::errc() && parsed.ptr == end && std::isfinite(value)
               ? std::string()
               : "'" + TerminalLine(text, {.most = 60}) +
                     "' is not a finite number";
  };
  return CLI::Validator(wrong, "");
}

template <typename T>
Argument AddSingle(CLI::App* app, const std::string& names, T* value,
                   CLI::Validator check, const std::string& help) {
  return Argument(app->add_option(names, *value, help)
                      ->check(std::move(check))
                      ->capture_default_str());
}

std::string WordsOf(const CLI::App& app) {
  std::string words;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words += " --" + name;
  }
  for (const CLI::App* sub : app.get_subcommands(nullptr)) {
    words += " " + sub->get_name();
    for (const CLI::Option* option : sub->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        if (name != "help") words += " --" + name;
      }
    }
  }
  return words.empty() ? words : words.substr(1);
}

}  // namespace

Argument& Argument::Required() {
  option_->required();
  return *this;
}

Argument& Argument::Group(const std::string& title) {
  option_->group(title);
  return *this;
}

Argument& Argument::Excludes(const Argument& other) {
  option_->excludes(other.option_);
  return *this;
}

Argument& Argument::Needs(const Argument& other) {
  option_->needs(other.option_);
  return *this;
}

Argument& Argument::ValueOptional() {
  option_->expected(0, 1);
  return *this;
}

Argument& Argument::Check(
    std::function<std::string(const std::string&)> fault) {
  option_->check(std::move(fault));
  return *this;
}

bool Argument::given() const { return option_->count() > 0; }

Argument Verb::Add(const std::string& names, bool* on,
                   const std::string& help) {
  return Argument(app_->add_flag(names, *on, help));
}

Argument Verb::Add(const std::string& names, std::string* text,
                   const std::string& help) {
  return Argument(app_->add_option(names, *text, help)->capture_default_str());
}

Argument Verb::Add(const std::string& names, std::string* word,
                   std::initializer_list<const char*> words,
                   const std::string& help) {
  return AddSingle(
      app_, names, word,
      CLI::IsMember(std::vector<std::string>(words.begin(), words.end())),
      help);
}

Argument Verb::Add(const std::string& names, std::vector<std::string>* texts,
                   const std::string& help) {
  return Argument(
      app_->add_option(names, *texts, help)->allow_extra_args(false));
}

Argument Verb::Add(const std::string& names, int* number, Whole range,
                   const std::string& help) {
  return AddSingle(app_, names, number, WholeNumber(range), help);
}

Argument Verb::Add(const std::string& names, int64_t* number, Whole range,
                   const std::string& help) {
  return AddSingle(app_, names, number, WholeNumber(range), help);
}

Argument Verb::Add(const std::string& names, uint64_t* number, Whole range,
                   const std::string& help) {
  return AddSingle(app_, names, number, WholeNumber(range), help);
}

Argument Verb::Add(const std::string& names, std::vector<int>* numbers,
                   Whole range, const std::string& help) {
  return Argument(app_->add_option(names, *numbers, help)
                      ->delimiter(',')
                      ->allow_extra_args(false)
                      ->check(WholeNumber(range)));
}

Argument Verb::Add(const std::string& names, float* number,
                   const std::string& help) {
  return AddSingle(app_, names, number, FiniteNumber(), help);
}

Argument Verb::Add(const std::string& names, double* number,
                   const std::string& help) {
  return AddSingle(app_, names, number, FiniteNumber(), help);
}

Argument Verb::AddNotNegative(const std::string& names, double* number,
                              const std::string& help) {
  return AddSingle(app_, names, number, FiniteNumber() & CLI::NonNegativeNumber,
                   help);
}

Verb Verb::OneOf(const std::string& title) {
  CLI::App* group = app_->add_option_group(title);
  group->require_option(1);
  return {line_, group};
}

Verb Verb::Word(const std::string& word, const std::string& help) {
  app_->require_subcommand(1);
  CLI::App* sub = app_->add_subcommand(word, help);
  sub->fallthrough();
  return {line_, sub};
}

void Verb::Require(std::function<std::string()> missing) {
  app_->callback([missing = std::move(missing)] {
    const std::string what = missing();
    if (!what.empty()) throw CLI::RequiredError(what);
  });
}

void Verb::Footer(const std::string& text) { app_->footer(text); }

void Verb::Run(std::function<Status()> run) {
  line_->parser_->runs[app_] = std::move(run);
}

CommandLine::CommandLine(const std::string& name, const std::string& about,
                         const std::string& version)
    : parser_(std::make_unique<Parser>(about)) {
  parser_->app.name(name);
  parser_->app.set_version_flag("--version", version);
  parser_->app.require_subcommand(1);
}

CommandLine::~CommandLine() = default;

Verb CommandLine::Add(const std::string& word, const std::string& help) {
  return {this, parser_->app.add_subcommand(word, help)};
}

std::optional<int> CommandLine::Parse(std::vector<std::string> arguments) {
  const auto verbs = parser_->app.get_subcommands(nullptr);
  if (!arguments.empty() && !arguments[0].starts_with("-") &&
      std::ranges::none_of(verbs, [&](const CLI::App* verb) {
        return verb->get_name() == arguments[0];
      })) {
    std::fprintf(stderr, "there is no verb %s; `%s --help` lists them\n",
                 TerminalLine(arguments[0], {.most = 60}).c_str(),
                 parser_->app.get_name().c_str());
    return 2;
  }
  std::ranges::reverse(arguments);  // as the parser wants
  try {
    parser_->app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return parser_->app.exit(error) == 0 ? 0 : 2;
  }
  return std::nullopt;
}

Status CommandLine::Run() const {
  for (const auto& [app, run] : parser_->runs) {
    if (app->parsed()) return run();
  }
  CHECK(false) << "no verb was parsed";
  return Status::Ok();
}

std::vector<CommandLine::Words> CommandLine::Completions() const {
  std::vector<Words> all;
  const CLI::App& app = parser_->app;
  for (const CLI::App* verb : app.get_subcommands(nullptr)) {
    all.push_back({verb->get_name(), WordsOf(*verb)});
  }
  return all;
}

}  // namespace intarsia
