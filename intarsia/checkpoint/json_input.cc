#include "intarsia/checkpoint/json_input.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/foreign.h"
#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// The strings that stand for non-finite numbers while JSON is parsed. Nobody
// writes them otherwise; who does gets the number.
constexpr std::pair<std::string_view, std::string_view> kNonFinite[] = {
    {"-Infinity", "\"\\u0001-Infinity\""},
    {"Infinity", "\"\\u0001Infinity\""},
    {"NaN", "\"\\u0001NaN\""},
};

// What the parser reads: the text, with the strings of kNonFinite for the bare
// words (if asked) and one space for each run of white space, which the parser
// would hold for its messages.
class Source {
 public:
  Source(std::string_view text, bool non_finite)
      : text_(text), non_finite_(non_finite) {
    Decode();
  }

  bool done() const { return done_; }
  char current() const { return current_; }
  // The byte of the text that current() begins at.
  size_t offset() const { return offset_; }
  void Next() {
    if (substitute_.empty()) {
      Decode();
    } else {
      current_ = substitute_.front();
      substitute_.remove_prefix(1);
    }
  }

 private:
  static bool IsSpace(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
  }

  void Decode() {
    offset_ = at_;
    if (at_ >= text_.size()) {
      done_ = true;
      return;
    }
    current_ = text_[at_++];
    if (in_string_) {
      in_string_ = escaped_ || current_ != '"';
      escaped_ = !escaped_ && current_ == '\\';
    } else if (current_ == '"') {
      in_string_ = true;
    } else if (IsSpace(current_)) {
      current_ = ' ';
      while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
    } else if (non_finite_ &&
               (current_ == '-' || current_ == 'I' || current_ == 'N')) {
      Substitute();
    }
  }

  void Substitute() {
    for (const auto& [word, string] : kNonFinite) {
      if (text_.substr(offset_, word.size()) != word) continue;
      at_ = offset_ + word.size();
      current_ = string.front();
      substitute_ = string.substr(1);
      return;
    }
  }

  const std::string_view text_;
  const bool non_finite_;
  std::string_view substitute_;  // the rest of a word's string
  size_t at_ = 0;
  size_t offset_ = 0;
  char current_ = 0;
  bool in_string_ = false, escaped_ = false, done_ = false;
};

// The parser copies its iterators; all copies are one place in one source.
class SourceIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  explicit SourceIterator(Source* source = nullptr) : source_(source) {}
  char operator*() const { return source_->current(); }
  SourceIterator& operator++() {
    source_->Next();
    return *this;
  }
  // Against the end, which has no source.
  bool operator!=(const SourceIterator&) const { return !source_->done(); }
  bool operator==(const SourceIterator& end) const { return !(*this != end); }

 private:
  Source* source_;
};

std::optional<double> NonFinite(std::string_view name) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  if (name == "-Infinity") return -kInf;
  if (name == "Infinity") return kInf;
  if (name == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

// Builds the tree from the parser's events. The parser's own builder with a
// callback looks through the members of an object again after each of them.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(const Source& source, std::string_view text, JsonLimits limits,
          std::span<JsonPart> parts, const JsonVisit* visit)
      : source_(source),
        text_(text),
        limits_(limits),
        parts_(parts),
        visit_(visit) {
    for (const JsonPart& part : parts) {
      path_depth_ = std::max(path_depth_, part.path.size());
    }
  }

  Json& root() { return root_; }
  // What stopped the parser: a message that goes after `where`, or a status.
  const std::string& fault() const { return fault_; }
  const Status& status() const { return status_; }

  bool null() override { return Scalar(nullptr); }
  bool boolean(bool value) override { return Scalar(value); }
  bool number_integer(int64_t value) override { return Scalar(value); }
  bool number_unsigned(uint64_t value) override { return Scalar(value); }
  bool number_float(double value, const std::string&) override {
    return Scalar(value);
  }
  bool string(std::string& value) override {
    if (skipping_ > 0) return true;
    if (limits_.non_finite && value.starts_with('\x01')) {
      if (const auto number = NonFinite(std::string_view(value).substr(1))) {
        return Scalar(*number);
      }
    }
    return Scalar(value);  // not moved: the parser's buffer may be far longer
  }
  bool binary(Json::binary_t&) override { return false; }  // not in JSON

  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(std::string& name) override {
    if (skipping_ > 0) return true;
    if (keys_.size() == open_.size()) keys_.back() = name;
    if (visit_ != nullptr && open_.size() == 1) {
      member_key_ = name;
      return true;
    }
    auto& members = open_.back()->get_ref<Json::object_t&>();
    const auto [at, fresh] = members.emplace(name, nullptr);
    if (!fresh && !limits_.repeats) {
      return Stop("gives \"" + Printable(name) + "\" twice");
    }
    if (!fresh && limits_.repeated != nullptr) limits_.repeated->insert(name);
    slot_ = &at->second;
    return true;
  }

  bool parse_error(size_t, const std::string&,
                   const Json::exception& error) override {
    std::string_view what = error.what();
    // Leave out "[json.exception.parse_error.101] parse error at line 1,
    // column 2: ": the place there is in what the parser saw.
    const size_t name = what.find("] ");
    if (name != std::string_view::npos) what.remove_prefix(name + 2);
    if (what.starts_with("parse error")) {
      const size_t place = what.find(": ");
      if (place != std::string_view::npos) what.remove_prefix(place + 2);
    }
    return Stop("is not JSON: " + Printable(what, 200));
  }

 private:
  bool Stop(const std::string& what) {
    const size_t at = std::min(source_.offset(), text_.size());
    const auto line = std::count(text_.begin(), text_.begin() + at, '\n') + 1;
    fault_ = what + " (at byte " + std::to_string(at) + ", line " +
             std::to_string(line) + ")";
    return false;
  }

  bool Scalar(Json value) {
    if (skipping_ > 0) return true;
    if (Place(std::move(value)) == nullptr) return false;
    return open_.size() != 1 || EndMember();
  }

  // Puts a value where the text has it; null past the limit.
  Json* Place(Json value) {
    if (++values_ > limits_.values) {
      Stop("holds more than " + std::to_string(limits_.values) + " values");
      return nullptr;
    }
    if (open_.empty()) return &(root_ = std::move(value));
    if (visit_ != nullptr && open_.size() == 1) {
      return &(member_ = std::move(value));
    }
    if (!open_.back()->is_array()) return &(*slot_ = std::move(value));
    return &open_.back()->get_ref<Json::array_t&>().emplace_back(
        std::move(value));
  }

  bool Open(Json empty) {
    if (depth_ >= limits_.depth) {
      return Stop("nests deeper than " + std::to_string(limits_.depth));
    }
    ++depth_;
    if (skipping_ > 0) {
      ++skipping_;
      return true;
    }
    for (JsonPart& part : parts_) {
      if (part.path != keys_ || open_.size() != keys_.size()) continue;
      part_ = &part;
      part_begin_ = source_.offset() - 1;  // the bracket has been read
      skipping_ = 1;
      return Place(nullptr) != nullptr;
    }
    Json* placed = Place(std::move(empty));
    if (placed == nullptr) return false;
    open_.push_back(placed);
    if (open_.size() <= path_depth_) keys_.emplace_back();
    return true;
  }

  bool Close() {
    --depth_;
    if (skipping_ > 0) {
      if (--skipping_ > 0) return true;
      part_->text = text_.substr(part_begin_, source_.offset() - part_begin_);
      return open_.size() != 1 || EndMember();
    }
    if (limits_.non_finite) RestoreFloat(open_.back());
    if (keys_.size() == open_.size()) keys_.pop_back();
    open_.pop_back();
    return open_.size() != 1 || EndMember();
  }

  // Where the root is visited: hands over the member that has ended.
  bool EndMember() {
    if (visit_ == nullptr) return true;
    values_ = 1;
    status_ = (*visit_)(&member_key_, &member_);
    member_ = nullptr;
    member_key_.clear();
    return status_.ok();
  }

  static void RestoreFloat(Json* value) {
    if (!value->is_object() || value->size() != 1) return;
    const auto found = value->find("__float__");
    if (found == value->end() || !found->is_string()) return;
    const auto number = NonFinite(found->get_ref<const std::string&>());
    if (number) *value = *number;
  }

  const Source& source_;
  const std::string_view text_;
  const JsonLimits limits_;
  const std::span<JsonPart> parts_;
  const JsonVisit* const visit_;
  size_t path_depth_ = 0;  // of the longest path among parts_

  Json root_;
  std::vector<Json*> open_;        // objects and arrays that have not ended
  Json* slot_ = nullptr;           // of the last key
  std::vector<std::string> keys_;  // the last of each, as deep as paths go
  int depth_ = 0;
  size_t values_ = 0;
  int skipping_ = 0;  // depth inside of a part
  JsonPart* part_ = nullptr;
  size_t part_begin_ = 0;
  std::string member_key_;
  Json member_;
  std::string fault_;
  Status status_;
};

Result<Json> Parse(std::string_view text, const std::string& where,
                   JsonLimits limits, std::span<JsonPart> parts,
                   const JsonVisit* visit) {
  for (JsonPart& part : parts) part.text = {};
  // The parser would stop at a zero byte.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return InvalidArgument(where +
                           " is not JSON: it holds a zero byte (at byte " +
                           std::to_string(zero) + ")");
  }
  Source source(text, limits.non_finite);
  Builder builder(source, text, limits, parts, visit);
  if (Json::sax_parse(SourceIterator(&source), SourceIterator(), &builder)) {
    return std::move(builder.root());
  }
  if (!builder.status().ok()) return builder.status();
  return InvalidArgument(where + " " + builder.fault());
}

}  // namespace

Result<Json> ParseJson(std::string_view text, const std::string& where,
                       JsonLimits limits, std::span<JsonPart> parts) {
  return Parse(text, where, limits, parts, nullptr);
}

Status VisitJson(std::string_view text, const std::string& where,
                 JsonLimits limits, const JsonVisit& visit,
                 std::span<JsonPart> parts) {
  const Result<Json> root = Parse(text, where, limits, parts, &visit);
  if (!root.ok()) return root.status();
  if (root->is_structured()) return Status::Ok();
  return InvalidArgument(where + " is not an object or array");
}

Result<Json> ReadJsonFile(const std::string& path, const std::string& room,
                          size_t max_bytes, JsonLimits limits) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                   MappedFile::Open(path));
  const std::string where = "[" + room + "] " + path + ":";
  if (const std::string kind = ForeignFile(file->text()); !kind.empty()) {
    return InvalidArgument(where + " " + kind);
  }
  if (file->size() > max_bytes) {
    return InvalidArgument(where + " " + std::to_string(file->size()) +
                           " bytes of JSON, at most " +
                           std::to_string(max_bytes) + " are read");
  }
  return ParseJson(file->text(), where + " the file", limits);
}

}  // namespace intarsia
