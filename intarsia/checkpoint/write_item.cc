#include "intarsia/checkpoint/write_item.h"

#include <set>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {

Result<std::vector<WriteItem>> ToWriteItems(
    std::span<const NamedTensor> tensors, const std::string& where) {
  std::vector<WriteItem> items;
  std::set<std::string_view> names;
  for (const NamedTensor& named : tensors) {
    const std::string tensor =
        where + "tensor \"" + Printable(named.name) + "\" ";
    CHECK(named.tensor.defined()) << tensor;
    if (named.name.empty() || !IsUtf8(named.name)) {
      return InvalidArgument(tensor + "needs a name in UTF-8");
    }
    if (!names.insert(named.name).second) {
      return InvalidArgument(tensor + "is there twice");
    }
    WriteItem item{.source = &named,
                   .encoding = &EncodingOf(named.tensor.dtype()),
                   .shape = named.tensor.shape()};
    if (!named.encoding.empty()) {
      item.encoding = FindEncoding(named.encoding);
      if (item.encoding == nullptr) {
        return Unsupported(tensor + "has unknown encoding " + named.encoding);
      }
      item.shape = named.shape;
    }
    const auto dims = item.shape.dims();
    const std::vector<uint64_t> checked(dims.begin(), dims.end());
    if (Status s =
            CheckLayout(*item.encoding, checked, &item.shape, &item.bytes);
        !s.ok()) {
      return Status(s.code(), tensor + s.message());
    }
    if (item.bytes != named.tensor.nbytes()) {
      return InvalidArgument(tensor + std::string(item.encoding->name) + " " +
                             item.shape.ToString() + " has " +
                             std::to_string(item.bytes) + " bytes, given are " +
                             std::to_string(named.tensor.nbytes()));
    }
    items.push_back(std::move(item));
  }
  return items;
}

Status WriteValues(const WriteItem& item, AtomicFile* file) {
  const Tensor host = item.source->tensor.To(Cpu()).Contiguous();
  return file->Write({host.raw(), host.nbytes()});
}

}  // namespace intarsia
