#include "intarsia/hub/reference.h"

#include <algorithm>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {
namespace {

constexpr size_t kMaxName = 96;
constexpr size_t kMaxRevision = 160;
constexpr size_t kMaxQuant = 160;

// What stands before ORG/NAME; 0: nothing known.
size_t PrefixSize(std::string_view text) {
  for (const std::string_view prefix :
       {"hf:", "hf.co/", "huggingface.co/", "https://hf.co/",
        "https://huggingface.co/"}) {
    if (text.starts_with(prefix)) return prefix.size();
  }
  return 0;
}

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

bool IsNamePart(std::string_view part) {
  return !part.empty() && part.front() != '.' && part.back() != '.' &&
         part.find("..") == std::string_view::npos &&
         std::all_of(part.begin(), part.end(), IsNameCharacter);
}

}  // namespace

bool IsPlainName(std::string_view text, size_t limit, bool slash) {
  if (text.size() > limit) return false;
  while (slash && text.find('/') != std::string_view::npos) {
    if (!IsNamePart(text.substr(0, text.find('/')))) return false;
    text.remove_prefix(text.find('/') + 1);
  }
  return IsNamePart(text);
}

std::string HubReference::ToString() const {
  std::string text = "hf:" + repository;
  if (revision != kDefaultRevision) text += "@" + revision;
  if (!quant.empty()) text += ":" + quant;
  return text;
}

bool IsHubReference(std::string_view text) { return PrefixSize(text) != 0; }

Result<HubReference> ParseHubReference(std::string_view text) {
  const auto refuse = [&](const char* why) {
    return InvalidArgument("[hub] " + Printable(text) + ": " + why +
                           "; models of the hub are named "
                           "hf:ORG/NAME[@REVISION][:QUANT]");
  };
  std::string_view rest = text.substr(PrefixSize(text));
  HubReference reference;
  if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    reference.quant = rest.substr(colon + 1);
    if (!IsPlainName(reference.quant, kMaxQuant)) {
      return refuse("no quantisation is written like this");
    }
    rest = rest.substr(0, colon);
  }
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    reference.revision = rest.substr(at + 1);
    if (!IsPlainName(reference.revision, kMaxRevision, /*slash=*/true)) {
      return refuse("no revision is written like this");
    }
    rest = rest.substr(0, at);
  }
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos ||
      !IsPlainName(rest.substr(0, slash), kMaxName) ||
      !IsPlainName(rest.substr(slash + 1), kMaxName)) {
    return refuse("not ORG/NAME");
  }
  reference.repository = rest;
  return reference;
}

}  // namespace intarsia
