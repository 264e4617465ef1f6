// Filters of lists and of what can be iterated over.
#include <algorithm>
#include <iterator>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

Value NoneNamed(const char* name) {
  return Undefined{std::make_shared<const std::string>(name)};
}

// item.a.0.b for "a.0.b"; a missing one gives `fallback` if there is one.
Value Path(Evaluator& e, const Value& item, const Value& path,
           const Value* fallback = nullptr) {
  if (!path.is_string()) return e.Item(item, path);
  Value value = item;
  for (const std::string& part : Split(path.string(), ".", -1)) {
    const bool number =
        !part.empty() && part.size() < 10 &&
        part.find_first_not_of("0123456789") == std::string::npos;
    value = e.Item(value, number ? Value(int64_t{std::stoi(part)}) : part);
    if (value.is_undefined() && fallback) value = *fallback;
  }
  return value;
}

Value IgnoreCase(const Value& v) {
  return v.is_string() ? Value(Lower(v.string())) : v;
}

// The value that an item is compared by.
Value Key(Evaluator& e, const Value& item, const Value* attribute,
          bool case_sensitive) {
  const bool whole = attribute == nullptr || attribute->is_none();
  const Value value = whole ? item : Path(e, item, *attribute);
  return case_sensitive ? value : IgnoreCase(value);
}

// A stable sort of items by keys of theirs.
std::vector<Value> SortedBy(Evaluator& e, std::vector<Value> items,
                            const std::vector<std::vector<Value>>& keys,
                            bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) {
    e.Step();
    const auto& a = keys[reverse ? j : i];
    const auto& b = keys[reverse ? i : j];
    for (size_t k = 0; k < a.size(); ++k) {
      if (!Equal(a[k], b[k])) return Less(a[k], b[k]);
    }
    return false;
  });
  std::vector<Value> sorted;
  for (const size_t i : order) sorted.push_back(items[i]);
  return sorted;
}

Value Sort(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("sort", a, {"reverse", "case_sensitive", "attribute"});
  std::vector<Value> items = e.Iterate(v);
  std::vector<Value> paths;
  if (bound.Get(2) && bound.Get(2)->is_string()) {
    for (std::string& path : Split(bound.Get(2)->string(), ",", -1)) {
      paths.emplace_back(std::move(path));
    }
  } else {
    paths.push_back(bound.Get(2) ? *bound.Get(2) : Value(None{}));
  }
  std::vector<std::vector<Value>> keys(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    for (const Value& path : paths) {
      keys[i].push_back(Key(e, items[i], &path, bound.Flag(1, false)));
    }
  }
  return e.NewList(SortedBy(e, std::move(items), keys, bound.Flag(0, false)));
}

Value DictSort(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("dictsort", a, {"case_sensitive", "by", "reverse"});
  if (!v.is_dict()) Fail("dictsort: not a dict");
  const std::string by = bound.Text(1, "key");
  if (by != "key" && by != "value") Fail("dictsort: by must be key or value");
  std::vector<Value> pairs;
  std::vector<std::vector<Value>> keys;
  for (const auto& [key, value] : v.dict().items) {
    pairs.push_back(MakeList({key, value}, List::kTuple));
    keys.push_back(
        {Key(e, by == "key" ? key : value, nullptr, bound.Flag(0, false))});
  }
  return e.NewList(SortedBy(e, std::move(pairs), keys, bound.Flag(2, false)));
}

Value Unique(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("unique", a, {"case_sensitive", "attribute"});
  std::vector<Value> kept, keys;
  for (const Value& item : e.Iterate(v)) {
    Value key = Key(e, item, bound.Get(1), bound.Flag(0, false));
    e.Step(keys.size() * 8);
    const bool seen =
        std::any_of(keys.begin(), keys.end(),
                    [&](const Value& other) { return Equal(key, other); });
    if (seen) continue;
    kept.push_back(item);
    keys.push_back(std::move(key));
  }
  return e.NewList(std::move(kept), List::kGenerator);
}

Value Extreme(Evaluator& e, const Value& v, Arguments& a, bool largest) {
  const Bound bound(largest ? "max" : "min", a,
                    {"case_sensitive", "attribute"});
  const std::vector<Value> items = e.Iterate(v);
  if (items.empty())
    return NoneNamed("No aggregated item, sequence was empty.");
  const auto key = [&](const Value& item) {
    return Key(e, item, bound.Get(1), bound.Flag(0, false));
  };
  size_t best = 0;
  Value best_key = key(items[0]);
  for (size_t i = 1; i < items.size(); ++i) {
    Value candidate = key(items[i]);
    if (largest ? Less(best_key, candidate) : Less(candidate, best_key)) {
      best = i;
      best_key = std::move(candidate);
    }
  }
  return items[best];
}
Value Min(Evaluator& e, const Value& v, Arguments& a) {
  return Extreme(e, v, a, false);
}
Value Max(Evaluator& e, const Value& v, Arguments& a) {
  return Extreme(e, v, a, true);
}

Value First(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("first", a, {});
  if (v.is_list() && v.list().kind == List::kGenerator) {
    const List& list = v.list();
    if (list.used < list.items.size()) return list.items[list.used++];
    return NoneNamed("No first item, sequence was empty.");
  }
  const std::vector<Value> items = e.Iterate(v);
  return items.empty() ? NoneNamed("No first item, sequence was empty.")
                       : items.front();
}

Value Last(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("last", a, {});
  if (v.is_list() && v.list().kind == List::kGenerator) {
    Fail("'generator' object is not reversible");
  }
  const std::vector<Value> items = e.Iterate(v);
  return items.empty() ? NoneNamed("No last item, sequence was empty.")
                       : items.back();
}

Value Items(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("items", a, {});
  std::vector<Value> pairs;
  if (v.is_dict()) {
    for (const auto& [key, value] : v.dict().items) {
      pairs.push_back(MakeList({key, value}, List::kTuple));
    }
  } else if (!v.is_undefined()) {
    Fail("Can only get item pairs from a mapping.");
  }
  return e.NewList(std::move(pairs), List::kGenerator);
}

Value Join(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("join", a, {"d", "attribute"});
  const std::string separator = bound.Get(0) ? ToText(*bound.Get(0)) : "";
  std::string out;
  bool first = true;
  for (const Value& item : e.Iterate(v)) {
    if (!first) out += separator;
    first = false;
    const bool whole = !bound.Get(1) || bound.Get(1)->is_none();
    const std::string text =
        ToText(whole ? item : Path(e, item, *bound.Get(1)));
    e.Step(text.size() + separator.size());
    out += text;
    if (out.size() > e.options().limits.output_bytes) {
      Fail("a string is too long");
    }
  }
  return e.Text(std::move(out));
}

Value ListFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("list", a, {});
  return e.NewList(e.Iterate(v));
}

Value Reverse(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("reverse", a, {});
  if (v.is_string()) {
    std::u32string all = Characters(v.string());
    std::reverse(all.begin(), all.end());
    return e.Text(FromCharacters(all));
  }
  std::vector<Value> items = e.Iterate(v);
  std::reverse(items.begin(), items.end());
  return e.NewList(std::move(items), List::kGenerator);
}

Value Sum(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("sum", a, {"attribute", "start"});
  Value total = bound.Get(1) ? *bound.Get(1) : Value(int64_t{0});
  for (const Value& item : e.Iterate(v)) {
    const bool whole = !bound.Get(0) || bound.Get(0)->is_none();
    total =
        e.Arithmetic("+", total, whole ? item : Path(e, item, *bound.Get(0)));
  }
  return total;
}

Value Batch(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("batch", a, {"linecount", "fill_with"}, 1);
  const int64_t size = bound.Int(0, 1);
  if (size < 1 || size > 1 << 20) Fail("batch: bad size");
  std::vector<Value> batches, batch;
  const auto flush = [&] {
    if (!batch.empty()) batches.push_back(e.NewList(std::exchange(batch, {})));
  };
  for (const Value& item : e.Iterate(v)) {
    if (static_cast<int64_t>(batch.size()) == size) flush();
    batch.push_back(item);
  }
  if (bound.Get(1) && !bound.Get(1)->is_none() && !batch.empty()) {
    batch.resize(static_cast<size_t>(size), *bound.Get(1));
  }
  flush();
  return e.NewList(std::move(batches), List::kGenerator);
}

Value SliceFilter(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("slice", a, {"slices", "fill_with"}, 1);
  const std::vector<Value> items = e.Iterate(v);
  const int64_t slices = bound.Int(0, 1);
  if (slices < 1 || slices > 1 << 16) Fail("slice: bad number");
  const auto count = static_cast<size_t>(slices);
  const size_t each = items.size() / count, extra = items.size() % count;
  std::vector<Value> out;
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t end = at + each + (i < extra ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<long>(at),
                            items.begin() + static_cast<long>(end));
    if (bound.Get(1) && !bound.Get(1)->is_none() && i >= extra) {
      part.push_back(*bound.Get(1));
    }
    out.push_back(e.NewList(std::move(part)));
    at = end;
  }
  return e.NewList(std::move(out), List::kGenerator);
}

// A tuple whose items have names, too.
Value MakeGroup(std::vector<Value> items) {
  List group = MakeList(std::move(items), List::kTuple).list();
  group.is_group = true;
  return Value(std::make_shared<const List>(std::move(group)));
}

Value GroupBy(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("groupby", a, {"attribute", "default", "case_sensitive"},
                    1);
  std::vector<Value> items = e.Iterate(v);
  const auto raw = [&](const Value& item) {
    return Path(e, item, *bound.Get(0), bound.Get(1));
  };
  const auto key = [&](const Value& item) {
    return bound.Flag(2, false) ? raw(item) : IgnoreCase(raw(item));
  };
  std::vector<std::vector<Value>> keys;
  for (const Value& item : items) keys.push_back({key(item)});
  items = SortedBy(e, std::move(items), keys, false);
  std::vector<Value> groups, group;
  for (size_t i = 0; i < items.size(); ++i) {
    group.push_back(items[i]);
    if (i + 1 < items.size() && Equal(key(items[i]), key(items[i + 1]))) {
      continue;
    }
    const Value name = raw(group[0]);
    groups.push_back(MakeGroup({name, e.NewList(std::exchange(group, {}))}));
  }
  return e.NewList(std::move(groups));
}

// What is false (none, an empty text) is as good as an empty list.
std::vector<Value> ItemsIfAny(Evaluator& e, const Value& v) {
  return v.Truth() ? e.Iterate(v) : std::vector<Value>();
}

Value Map(Evaluator& e, const Value& v, Arguments& a) {
  std::vector<Value> out;
  if (a.positional.empty()) {
    const Bound bound("map", a, {"attribute", "default"}, 1);
    for (const Value& item : ItemsIfAny(e, v)) {
      out.push_back(Path(e, item, *bound.Get(0), bound.Get(1)));
    }
    return e.NewList(std::move(out), List::kGenerator);
  }
  const std::string name = RequireText(a.positional[0], "map: the filter");
  const Filter filter = RequireFilter(name);
  Arguments rest = a;
  rest.positional.erase(rest.positional.begin());
  for (const Value& item : ItemsIfAny(e, v)) {
    e.Step();
    Arguments arguments = rest;
    out.push_back(filter(e, item, arguments));
  }
  return e.NewList(std::move(out), List::kGenerator);
}

// select, reject, selectattr, rejectattr.
Value Choose(Evaluator& e, const Value& v, const Arguments& a, bool attribute,
             bool want) {
  Arguments rest = a;
  Value path;
  const auto shift = [&] {
    Value value = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
    return value;
  };
  if (attribute) {
    if (rest.positional.empty()) Fail("Missing parameter for attribute name");
    path = shift();
  }
  Test test = nullptr;
  if (!rest.positional.empty()) {
    const std::string name = RequireText(shift(), "the name of a test");
    test = FindTest(name);
    if (test == nullptr) Fail("No test named '" + name + "'.");
  }
  std::vector<Value> kept;
  for (const Value& item : ItemsIfAny(e, v)) {
    e.Step();
    const Value value = attribute ? Path(e, item, path) : item;
    Arguments arguments = rest;
    const bool holds = test ? test(e, value, arguments) : value.Truth();
    if (holds == want) kept.push_back(item);
  }
  return e.NewList(std::move(kept), List::kGenerator);
}

constexpr NamedFilter kFilters[] = {
    {"batch", Batch},
    {"dictsort", DictSort},
    {"first", First},
    {"groupby", GroupBy},
    {"items", Items},
    {"join", Join},
    {"last", Last},
    {"list", ListFilter},
    {"map", Map},
    {"max", Max},
    {"min", Min},
    {"reject", [](Evaluator& e, const Value& v,
                  Arguments& a) { return Choose(e, v, a, false, false); }},
    {"rejectattr", [](Evaluator& e, const Value& v,
                      Arguments& a) { return Choose(e, v, a, true, false); }},
    {"reverse", Reverse},
    {"select", [](Evaluator& e, const Value& v,
                  Arguments& a) { return Choose(e, v, a, false, true); }},
    {"selectattr", [](Evaluator& e, const Value& v,
                      Arguments& a) { return Choose(e, v, a, true, true); }},
    {"slice", SliceFilter},
    {"sort", Sort},
    {"sum", Sum},
    {"unique", Unique},
};

}  // namespace

FilterTable SequenceFilters() { return {kFilters, std::size(kFilters)}; }

}  // namespace intarsia::chat_template
