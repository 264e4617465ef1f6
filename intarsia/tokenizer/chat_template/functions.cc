// Functions that every template sees.
#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"

namespace intarsia::chat_template {
namespace {

constexpr size_t kMaxRange = 100000;  // as in jinja2's sandbox

using Body = Value (*)(Evaluator&, Arguments&);

Value Range(Evaluator& e, Arguments& a) {
  const Bound bound("range", a, {"start", "stop", "step"}, 1);
  int64_t start = 0, stop = bound.Int(0, 0);
  if (bound.Get(1)) {
    start = stop;
    stop = bound.Int(1, 0);
  }
  const int64_t step = bound.Int(2, 1);
  if (step == 0) Fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.emplace_back(i);
    e.Step();
    if (items.size() > std::min(kMaxRange, e.options().limits.list_items)) {
      Fail("range() is too long");
    }
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return e.NewRange(std::move(items), start, stop, step);
}

Value MakeNamespace(Evaluator& e, Arguments& a) {
  Value ns = e.NewNamespace();
  if (a.positional.size() > 1) Fail("namespace() takes one dict");
  if (!a.positional.empty()) {
    if (!a.positional[0].is_dict()) Fail("namespace() takes a dict");
    for (const auto& [key, value] : a.positional[0].dict().items) {
      ns.ns().fields[RequireText(key, "namespace()")] = value;
    }
  }
  for (const auto& [name, value] : a.named) ns.ns().fields[name] = value;
  return ns;
}

Value MakeDictionary(Evaluator& e, Arguments& a) {
  Dict dict;
  if (a.positional.size() > 1) Fail("dict() takes at most one argument");
  if (!a.positional.empty() && a.positional[0].is_dict()) {
    e.Step(a.positional[0].dict().items.size() * 64);
    dict = a.positional[0].dict();
  } else if (!a.positional.empty()) {
    for (const Value& pair : e.Iterate(a.positional[0])) {
      const std::vector<Value> parts = e.Iterate(pair);
      if (parts.size() != 2) Fail("dict() takes pairs");
      dict.Set(parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : a.named) dict.Set(Value(name), value);
  return MakeDict(std::move(dict));
}

Value RaiseException(Evaluator&, Arguments& a) {
  const Bound bound("raise_exception", a, {"message"}, 1);
  Fail(ToText(*bound.Get(0)));
}

// For C, what Python writes in another way: microseconds, and no zone.
std::string ForC(const std::string& format, const std::string& microseconds) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    const char kind = format[++i];
    if (kind == 'f') {
      out += microseconds;
    } else if (kind != 'z' && kind != 'Z') {
      out += {'%', kind};
    }
  }
  return out;
}

Value StrftimeNow(Evaluator& e, Arguments& a) {
  const Bound bound("strftime_now", a, {"format"}, 1);
  const std::string format = bound.Text(0);
  constexpr size_t kMaxFormat = 256;
  if (format.size() > kMaxFormat) Fail("strftime_now: the format is too long");
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] == '\0') Fail("strftime_now: the format holds a zero byte");
    // Widths, as in %99999Y, would ask for any amount of memory.
    if (format[i] == '%' && ++i < format.size() && format[i] >= '0' &&
        format[i] <= '9') {
      Fail("strftime_now: a width in the format");
    }
  }
  const auto clock = std::chrono::system_clock::now();
  std::tm now{};
  std::string microseconds = "000000";
  if (e.options().now) {
    now = *e.options().now;
  } else {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(clock);
    localtime_r(&seconds, &now);
    const auto all = std::chrono::duration_cast<std::chrono::microseconds>(
        clock.time_since_epoch());
    microseconds = std::to_string(1000000 + all.count() % 1000000).substr(1);
  }
  // A space in front tells an empty result from one too long.
  std::string text(kMaxFormat * 64, '\0');
  text.resize(std::strftime(text.data(), text.size(),
                            (" " + ForC(format, microseconds)).c_str(), &now));
  return e.Text(text.empty() ? text : text.substr(1));
}

// joiner(", "): nothing at its first call, the separator from then on.
Value Joiner(Evaluator&, Arguments& a) {
  const Bound bound("joiner", a, {"sep"});
  auto used = std::make_shared<bool>(false);
  return MakeFunction(
      "joiner", [used, sep = bound.Text(0, ", ")](Evaluator& e, Arguments&) {
        return e.Text(std::exchange(*used, true) ? sep : "");
      });
}

// cycler("odd", "even"): next(), current and reset().
Value Cycler(Evaluator& e, Arguments& a) {
  if (a.positional.empty()) Fail("at least one item has to be provided");
  Value ns = e.NewNamespace();
  auto position = std::make_shared<size_t>(0);
  const std::vector<Value> items = a.positional;
  Namespace* const fields = &ns.ns();  // lives as long as the evaluator
  const int depth = MakeList(items).Depth();
  const auto method = [&](const char* name, auto body) {
    fields->fields[name] = MakeFunction(name, std::move(body), depth);
  };
  fields->fields["current"] = items[0];
  method("next", [items, position, fields](Evaluator&, Arguments&) {
    const Value value = items[*position];
    *position = (*position + 1) % items.size();
    fields->fields["current"] = items[*position];
    return value;
  });
  method("reset", [items, position, fields](Evaluator&, Arguments&) -> Value {
    *position = 0;
    fields->fields["current"] = items[0];
    return None{};
  });
  return ns;
}

}  // namespace

void AddGlobals(Scope* scope) {
  constexpr std::pair<const char*, Body> kGlobals[] = {
      {"range", Range},
      {"namespace", MakeNamespace},
      {"dict", MakeDictionary},
      {"raise_exception", RaiseException},
      {"strftime_now", StrftimeNow},
      {"joiner", Joiner},
      {"cycler", Cycler},
  };
  for (const auto& [name, body] : kGlobals) {
    scope->names[name] = MakeFunction(name, body);
  }
}

}  // namespace intarsia::chat_template
