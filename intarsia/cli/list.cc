// intarsia list: what the registries hold, and on which device each runs; the
// fields of a primitive; what an intarsia.json may hold, for editors.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "intarsia/cli/command.h"
#include "intarsia/core/field_schema.h"
#include "intarsia/families/family.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

struct Flags : CommonFlags {
  std::string primitive;
  bool schema = false;
};

Json SchemaOf(const MixerEntry& entry) {
  return FieldSchema([&](Fields& f) { entry.fields(f, 0); });
}

Json PrimitiveList() {
  static constexpr const char* kKinds[] = {"mixer", "channel mixer", "wiring"};
  Json out = Json::array();
  for (const MixerEntry& entry : Primitives()) {
    out.push_back({{"name", entry.name},
                   {"kind", kKinds[static_cast<int>(entry.kind)]},
                   {"cpu", true},
                   {"cuda", Example(entry)->Supports(Cuda()).ok()},
                   {"config", SchemaOf(entry)}});
  }
  return out;
}

Json Formats() {
  Json out = Json::array();
  for (const Format* format : AllFormats()) {
    const int64_t k = 256;
    out.push_back({{"name", format->name()},
                   {"block", format->block()},
                   {"bits", 8.0 * static_cast<double>(format->row_bytes(k)) /
                                static_cast<double>(k)}});
  }
  return out;
}

Json FamilyList() {
  Json out = Json::array();
  for (const Family& family : Families()) {
    out.push_back({{"name", family.name},
                   {"model_types", family.model_types},
                   {"gguf", family.gguf_architectures}});
  }
  return out;
}

// Whatever has a "mixer" and a "config" refers to "mixer" here.
Json Definitions() {
  Json all, names, cases;
  for (const MixerEntry& entry : Primitives()) {
    const std::string name = entry.name;
    const Json is = {{"mixer", {{"const", name}}}};
    const Json then = {{"config", {{"$ref", "#/$defs/" + name}}}};
    names.push_back(name);
    cases.push_back(
        {{"if", {{"properties", is}, {"required", Json::array({"mixer"})}}},
         {"then", {{"properties", then}}}});
    all[name] = SchemaOf(entry);
  }
  all["mixer"] = {{"properties", {{"mixer", {{"enum", names}}}}},
                  {"allOf", cases}};
  return all;
}

Json ModelSchema() {
  Json schema = FieldSchema(VisitModelFile);
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["title"] = "intarsia.json: a model as blocks of mixers";
  schema["$defs"] = Definitions();
  return schema;
}

std::string What(const Json& schema) {
  std::string text;
  for (const char* list : {"enum", "anyOf"}) {
    for (const Json& one : schema.value(list, Json::array())) {
      text += (text.empty() ? "" : " | ") +
              (one.is_object() ? What(one) : one.dump());
    }
  }
  if (!text.empty()) return text;
  const std::string type = schema["type"];
  if (type == "integer") {
    const int high = schema.value("maximum", 1 << 30);
    return "whole number, " + schema["minimum"].dump() +
           (high >= 1 << 30 ? " or more" : " to " + std::to_string(high));
  }
  if (type == "boolean") return "true | false";
  return type == "array" ? "list of: " + What(schema["items"]) : type;
}

void PrintFields(const Json& schema, const std::string& prefix) {
  const Json required = schema.value("required", Json::array());
  for (const bool first : {true, false}) {
    for (const auto& [name, field] : schema["properties"].items()) {
      const bool must = std::ranges::count(required, Json(name)) > 0;
      if (must != first) continue;
      std::string fallback = must ? "required" : "none";
      if (field.contains("default")) fallback = field["default"].dump();
      fallback = field.value("x-default", fallback);
      if (field.contains("x-when")) {
        fallback += ", where " + field["x-when"].get<std::string>();
      }
      std::printf("  %-28s %-40s %s\n", (prefix + name).c_str(),
                  What(field).c_str(), fallback.c_str());
      for (const Json& inner : field.value("anyOf", Json::array({field}))) {
        if (inner.contains("properties")) {
          PrintFields(inner, prefix + name + ".");
        } else if (inner.contains("items") &&
                   inner["items"].contains("properties")) {
          PrintFields(inner["items"], prefix + name + "[].");
        }
      }
    }
  }
}

Status RunPrimitive(const Flags& flags) {
  const MixerEntry* entry = FindPrimitive(flags.primitive);
  if (entry == nullptr) {
    return NotFound("[cli] no primitive \"" + flags.primitive +
                    "\"; `intarsia list` shows those of this build");
  }
  const Json schema = SchemaOf(*entry);
  if (flags.json || flags.schema) {
    PrintJson(schema);
    return Status::Ok();
  }
  std::printf("%-30s %-40s default\n", entry->name, "values");
  PrintFields(schema, "");
  return Status::Ok();
}

Status Run(const Flags& flags) {
  if (!flags.primitive.empty()) return RunPrimitive(flags);
  if (flags.schema) {
    PrintJson(ModelSchema());
    return Status::Ok();
  }
  const Json all = {{"primitives", PrimitiveList()},
                    {"formats", Formats()},
                    {"families", FamilyList()}};
  if (flags.json) {
    PrintJson(all);
    return Status::Ok();
  }
  std::printf("primitives       kind            cpu  cuda\n");
  for (const auto& p : all["primitives"]) {
    std::printf("  %-14s %-15s %-4s %s\n", p["name"].get<std::string>().c_str(),
                p["kind"].get<std::string>().c_str(), "yes",
                p["cuda"].get<bool>() ? "yes" : "no");
  }
  std::printf("\nformats          bits a weight\n");
  for (const auto& f : all["formats"]) {
    std::printf("  %-14s %.2f\n", f["name"].get<std::string>().c_str(),
                f["bits"].get<double>());
  }
  std::printf("\nfamilies         from\n");
  for (const auto& f : all["families"]) {
    std::printf("  %-14s Hugging Face folders%s\n",
                f["name"].get<std::string>().c_str(),
                f["gguf"].empty() ? "" : ", GGUF");
  }
  return Status::Ok();
}

}  // namespace

void AddList(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddCommon(verb, flags.get());
  verb.Add("PRIMITIVE", &flags->primitive,
           "Show the fields of its configuration");
  verb.Add("--schema", &flags->schema,
           "Print the JSON Schema of intarsia.json, for editors");
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
