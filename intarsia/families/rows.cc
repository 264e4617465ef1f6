#include "intarsia/families/rows.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "intarsia/families/transformer.h"
#include "intarsia/model/model.h"

namespace intarsia {
namespace {

bool OfBlocks(const TensorRow& row) {
  return row.ours[0] >= '0' && row.ours[0] <= '9';
}

bool OfElements(const TensorRow& row) {
  return row.hf.find('%') != std::string::npos;
}

// The maps of one weight of a model, and what they take of the file's tensors.
struct Mapper {
  const TensorNames& table;
  FileKind kind;
  std::vector<TensorMap> maps = {};
  std::map<std::string, int64_t> taken = {};
  // Ours that have a row for a matrix and one for stacks, of other blocks.
  std::set<std::string> twice = {};

  std::string FileName(const TensorRow& row, int block) const {
    const bool gguf = kind == FileKind::kGguf;
    const std::string& name = gguf ? row.gguf : row.hf;
    if (name.empty() || !OfBlocks(row)) return name;
    return (gguf ? table.gguf_block : table.hf_block) + std::to_string(block) +
           "." + name;
  }

  void Add(const TensorRow& row, int block, const Model& model) {
    TensorMap map{.native = OfBlocks(row) ? "blocks." + std::to_string(block) +
                                                "." + row.ours
                                          : row.ours,
                  .foreign = FileName(row, block)};
    const Weight* weight = model.Find(map.native);
    if (weight == nullptr || map.foreign.empty()) return;
    const Shape& shape = weight->shape();
    if (twice.contains(row.ours) && OfElements(row) != (shape.rank() > 2)) {
      return;
    }
    if (kind == FileKind::kHuggingFace) {
      map.transpose = row.transposed;
      map.unsqueeze = row.unsqueeze;
    }
    map.row_axis = row.axis;
    map.groups = kind == FileKind::kHuggingFace ? row.groups : 1;
    const std::string pattern = map.foreign;
    const size_t mark = pattern.find('%');
    const bool elements = mark != std::string::npos;
    for (int64_t e = 0; e < (elements ? shape[0] : 1); ++e) {
      if (elements) {
        map.foreign = pattern;
        map.foreign.replace(mark, 1, std::to_string(e));
        map.stack = e;
      }
      int64_t& end = taken.try_emplace(map.foreign, row.begin).first->second;
      map.row_begin = end;
      map.row_end = end += shape[row.axis + (elements ? 1 : 0)] / map.groups;
      maps.push_back(map);
    }
  }
};

}  // namespace

void TensorNames::AddPair(const std::string& weight, const std::string& bias,
                          const std::string& hf, const std::string& gguf,
                          bool transposed) {
  const auto with = [](const std::string& name, const char* end) {
    return name.empty() ? name : name + end;
  };
  rows.push_back(
      {weight, with(hf, ".weight"), with(gguf, ".weight"), transposed});
  rows.push_back({bias, with(hf, ".bias"), with(gguf, ".bias")});
}

namespace {

// The same weights, without what GGUF's tensors tell later: the vocabulary and
// divisors of angles.
ModelConfig ForShapes(ModelConfig config) {
  if (config.vocab_size == 0) config.vocab_size = 1;
  std::map<std::string, std::string> plain;  // layers are much alike
  for (BlockConfig& block : config.blocks) {
    for (SublayerConfig& sublayer : block.sublayers) {
      const auto [at, fresh] = plain.try_emplace(sublayer.config);
      if (fresh) {
        Json json = Json::parse(sublayer.config);
        json.erase("rope");
        at->second = json.dump();
      }
      sublayer.config = at->second;
    }
  }
  return config;
}

}  // namespace

std::vector<TensorMap> MapRows(const TensorNames& table, FileKind kind,
                               const ModelConfig& config) {
  const auto model = Model::Create(ForShapes(config));
  if (!model.ok()) return {};
  std::vector<const TensorRow*> last;
  for (const TensorRow& row : table.rows) {
    const auto same = std::ranges::find_if(last, [&](const TensorRow* other) {
      return other->ours == row.ours && OfElements(*other) == OfElements(row);
    });
    if (same != last.end()) {
      *same = &row;
    } else {
      last.push_back(&row);
    }
  }
  Mapper mapper{.table = table, .kind = kind};
  for (const TensorRow* row : last) {
    if (std::ranges::count(last, row->ours, &TensorRow::ours) > 1) {
      mapper.twice.insert(row->ours);
    }
  }
  for (const TensorRow* row : last) {
    if (!OfBlocks(*row)) mapper.Add(*row, 0, **model);
  }
  for (int block = 0; block < (*model)->blocks(); ++block) {
    for (const TensorRow* row : last) {
      if (OfBlocks(*row)) mapper.Add(*row, block, **model);
    }
  }
  // The whole of a tensor has no end: a wrong length is an error of shape.
  std::map<std::string, int> parts;
  for (const TensorMap& map : mapper.maps) ++parts[map.foreign];
  for (TensorMap& map : mapper.maps) {
    if (parts[map.foreign] == 1) map.row_end = -1;
  }
  return std::move(mapper.maps);
}

FieldReader::FieldReader(const Json& json, const std::string& room,
                         std::span<const FieldRow> rows, FileKind kind,
                         const std::string& prefix)
    : rows_(rows), kind_(kind), reader_(json, room, {.key_prefix = prefix}) {}

std::string FieldReader::NameOf(const std::string& ours) const {
  const auto row = std::ranges::find_if(
      rows_, [&](const FieldRow& row) { return ours == row.ours; });
  CHECK(row != rows_.end()) << ours << " is in no row";
  const char* name = kind_ == FileKind::kGguf ? row->gguf : row->hf;
  return name == nullptr ? std::string() : name;
}

int FieldReader::Int(const std::string& ours, int low, int high) {
  const std::string name = NameOf(ours);
  CHECK(!name.empty()) << ours;
  return reader_.Int(name, low, high);
}

int FieldReader::IntOr(const std::string& ours, int fallback, int low,
                       int high) {
  const std::string name = NameOf(ours);
  return name.empty() ? fallback : reader_.IntOr(name, fallback, low, high);
}

std::vector<int> FieldReader::Ints(const std::string& ours, int layers,
                                   int high) {
  std::vector<int> values = IntsOr(ours, layers, high);
  if (values.empty()) values.assign(layers, Int(ours, 1, high));
  return values;
}

std::vector<int> FieldReader::IntsOr(const std::string& ours, int layers,
                                     int high) {
  const std::string name = NameOf(ours);
  const Json* field = name.empty() ? nullptr : reader_.Find(name);
  if (field == nullptr) return {};
  if (kind_ != FileKind::kGguf || !field->is_array()) {
    return std::vector<int>(layers, reader_.Int(name, 1, high));
  }
  const bool right =
      static_cast<int>(field->size()) == layers &&
      std::ranges::all_of(*field, [&](const Json& value) {
        return value.is_number_integer() && value >= 1 && value <= high;
      });
  reader_.RequireField(right, name,
                       "a whole number from 1, or one for each of " +
                           std::to_string(layers) + " layers");
  return right ? field->get<std::vector<int>>() : std::vector<int>(layers, 1);
}

bool FieldReader::BoolOr(const std::string& ours, bool fallback) {
  const std::string name = NameOf(ours);
  return name.empty() ? fallback : reader_.BoolOr(name, fallback);
}

double FieldReader::NumberOr(const std::string& ours, double fallback) {
  const std::string name = NameOf(ours);
  return name.empty() ? fallback : reader_.NumberOr(name, fallback);
}

std::string FieldReader::StringOr(const std::string& ours,
                                  const std::string& fallback) {
  const std::string name = NameOf(ours);
  return name.empty() ? fallback : reader_.StringOr(name, fallback);
}

double FieldReader::Eps(const std::string& ours, double fallback) {
  const std::string name = NameOf(ours);
  CHECK(!name.empty()) << ours;
  return kind_ == FileKind::kGguf ? RequiredEps(&reader_, name)
                                  : ReadEps(&reader_, name, fallback);
}

}  // namespace intarsia
