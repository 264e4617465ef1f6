#include "intarsia/checkpoint/write_item.h"

#include <set>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {

std::vector<LazyTensor> Lazily(std::span<const NamedTensor> tensors) {
  std::vector<LazyTensor> lazy;
  for (const NamedTensor& named : tensors) {
    CHECK(named.tensor.defined()) << named.name;
    const bool blocks = !named.encoding.empty();
    lazy.push_back(
        {.name = named.name,
         .encoding = blocks
                         ? named.encoding
                         : std::string(EncodingOf(named.tensor.dtype()).name),
         .shape = blocks ? named.shape : named.tensor.shape(),
         .values = [tensor = named.tensor]() -> Result<Tensor> {
           return tensor;
         }});
  }
  return lazy;
}

Result<std::vector<WriteItem>> ToWriteItems(std::span<const LazyTensor> tensors,
                                            const std::string& where) {
  std::vector<WriteItem> items;
  std::set<std::string_view> names;
  for (const LazyTensor& source : tensors) {
    const std::string tensor =
        where + "tensor \"" + Printable(source.name) + "\" ";
    if (source.name.empty() || !IsUtf8(source.name)) {
      return InvalidArgument(tensor + "needs a name in UTF-8");
    }
    if (!names.insert(source.name).second) {
      return InvalidArgument(tensor + "is there twice");
    }
    WriteItem item{.source = &source,
                   .encoding = FindEncoding(source.encoding),
                   .shape = source.shape};
    if (item.encoding == nullptr) {
      return Unsupported(tensor + "has unknown encoding " + source.encoding);
    }
    const auto dims = item.shape.dims();
    const std::vector<uint64_t> checked(dims.begin(), dims.end());
    if (Status s =
            CheckLayout(*item.encoding, checked, &item.shape, &item.bytes);
        !s.ok()) {
      return Status(s.code(), tensor + s.message());
    }
    items.push_back(std::move(item));
  }
  return items;
}

Status WriteValues(const WriteItem& item, const std::string& where,
                   AtomicFile* file) {
  ASSIGN_OR_RETURN(const Tensor values, item.source->values());
  if (values.nbytes() != item.bytes) {
    return InvalidArgument(where + "tensor \"" + Printable(item.source->name) +
                           "\" " + std::string(item.encoding->name) + " " +
                           item.shape.ToString() + " has " +
                           std::to_string(item.bytes) + " bytes, given are " +
                           std::to_string(values.nbytes()));
  }
  const Tensor host = values.To(Cpu()).Contiguous();
  return file->Write({host.raw(), host.nbytes()});
}

}  // namespace intarsia
