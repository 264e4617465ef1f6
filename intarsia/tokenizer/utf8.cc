#include "intarsia/tokenizer/utf8.h"

namespace intarsia {

Utf8Step NextUtf8(std::string_view text) {
  const auto byte = [&](size_t i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char lead = byte(0);
  Utf8Step step;
  if (lead < 0x80) {
    step.code = lead;
    step.valid = true;
    return step;
  }
  // The second byte's range depends on the lead; later ones are 80..BF.
  size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return step;
  }
  char32_t code = lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) {
      step.length = i;
      step.incomplete = true;
      return step;
    }
    if (byte(i) < low || byte(i) > high) {
      step.length = i;
      return step;
    }
    code = code << 6 | (byte(i) & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  step.code = code;
  step.length = length;
  step.valid = true;
  return step;
}

size_t LastUtf8Start(std::string_view text) {
  size_t i = text.size() - 1;
  while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    if (static_cast<unsigned char>(text[0]) < 0x80) {
      text.remove_prefix(1);
      continue;
    }
    const Utf8Step step = NextUtf8(text);
    if (!step.valid) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

void AppendUtf8(char32_t code, std::string* out) {
  const auto put = [&](char32_t byte) {
    out->push_back(static_cast<char>(byte));
  };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

namespace {

// Appends characters of `text` up to its end or to an incomplete last one;
// returns how many bytes were consumed.
size_t AppendComplete(std::string_view text, std::string* out) {
  size_t done = 0;
  while (done < text.size()) {
    const Utf8Step step = NextUtf8(text.substr(done));
    if (step.incomplete) break;
    if (step.valid) {
      out->append(text, done, step.length);
    } else {
      AppendUtf8(kReplacementCharacter, out);
    }
    done += step.length;
  }
  return done;
}

}  // namespace

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (AppendComplete(text, &out) < text.size()) {
    AppendUtf8(kReplacementCharacter, &out);
  }
  return out;
}

void DrainUtf8(std::string* bytes, std::string* out) {
  bytes->erase(0, AppendComplete(*bytes, out));
}

}  // namespace intarsia
