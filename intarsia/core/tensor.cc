#include "intarsia/core/tensor.h"

#include <algorithm>
#include <ostream>

namespace intarsia {
namespace {

// Copies a strided host tensor into a contiguous block, or back.
template <bool kGather>
void CopyStrided(std::byte* packed, std::byte* strided, size_t size,
                 std::span<const int64_t> dims, const int64_t* strides) {
  if (dims.empty()) {
    std::memcpy(kGather ? packed : strided, kGather ? strided : packed, size);
    return;
  }
  if (dims.size() == 1 && strides[0] == 1) {
    std::memcpy(kGather ? packed : strided, kGather ? strided : packed,
                size * dims[0]);
    return;
  }
  size_t inner = size;
  for (int64_t d : dims.subspan(1)) inner *= d;
  for (int64_t i = 0; i < dims[0]; ++i) {
    CopyStrided<kGather>(packed + i * inner, strided + i * strides[0] * size,
                         size, dims.subspan(1), strides + 1);
  }
}

template <typename From, typename To, typename Fn>
void Convert(const Tensor& in, Tensor* out, Fn fn) {
  const From* src = in.data<From>();
  To* dst = out->mutable_data<To>();
  const int64_t n = in.numel();
  for (int64_t i = 0; i < n; ++i) dst[i] = fn(src[i]);
}

template <typename From>
Tensor ToFloatTensor(const Tensor& in) {
  Tensor out = Tensor::Empty(in.shape(), DType::kF32);
  Convert<From, float>(in, &out, [](From x) {
    if constexpr (std::is_arithmetic_v<From>) {
      return static_cast<float>(x);
    } else {
      return ToFloat(x);
    }
  });
  return out;
}

}  // namespace

Shape::Shape(std::span<const int64_t> dims)
    : rank_(static_cast<int>(dims.size())) {
  CHECK_LE(rank_, kMaxRank);
  for (int i = 0; i < rank_; ++i) {
    CHECK_GE(dims[i], 0);
    dims_[i] = dims[i];
  }
}

int64_t Shape::operator[](int i) const {
  const int axis = i < 0 ? i + rank_ : i;
  CHECK(axis >= 0 && axis < rank_) << "axis " << i << " of " << *this;
  return dims_[axis];
}

int64_t Shape::numel() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= dims_[i];
  return n;
}

Shape Shape::With(int axis, int64_t dim) const {
  Shape copy = *this;
  CHECK_GE(dim, 0);
  CHECK_LT(axis, rank_);
  copy.dims_[axis < 0 ? axis + rank_ : axis] = dim;
  return copy;
}

bool Shape::operator==(const Shape& other) const {
  return std::ranges::equal(dims(), other.dims());
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(dims_[i]);
  }
  return text + "]";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.ToString();
}

std::shared_ptr<Storage> Storage::Allocate(size_t bytes, Device device) {
  std::shared_ptr<Storage> s(new Storage());
  s->data_ = static_cast<std::byte*>(
      Backend(device).Allocate(std::max<size_t>(bytes, 1)));
  s->bytes_ = bytes;
  s->device_ = device;
  return s;
}

std::shared_ptr<Storage> Storage::Borrow(const void* data, size_t bytes,
                                         std::shared_ptr<const void> owner) {
  CHECK(owner != nullptr);
  std::shared_ptr<Storage> s(new Storage());
  s->data_ = static_cast<std::byte*>(const_cast<void*>(data));
  s->bytes_ = bytes;
  s->owner_ = std::move(owner);
  return s;
}

Storage::~Storage() {
  if (owner_ == nullptr && data_ != nullptr) {
    Backend(device_).Free(data_, std::max<size_t>(bytes_, 1));
  }
}

Tensor Tensor::Wrap(std::shared_ptr<Storage> storage, size_t byte_offset,
                    const Shape& shape, DType dtype) {
  const size_t need = shape.numel() * SizeOf(dtype);
  CHECK(byte_offset <= storage->bytes() &&
        need <= storage->bytes() - byte_offset)
      << shape << " of " << Name(dtype) << " at " << byte_offset << " in "
      << storage->bytes() << " bytes";
  Tensor t;
  t.storage_ = std::move(storage);
  t.offset_ = byte_offset;
  t.shape_ = shape;
  t.dtype_ = dtype;
  int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    t.strides_[i] = stride;
    stride *= shape[i];
  }
  return t;
}

Tensor Tensor::Empty(const Shape& shape, DType dtype, Device device) {
  return Wrap(Storage::Allocate(shape.numel() * SizeOf(dtype), device), 0,
              shape, dtype);
}

Tensor Tensor::Zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = Empty(shape, dtype, device);
  Backend(device).Zero(t.mutable_raw(), t.nbytes(), nullptr);
  return t;
}

Tensor Tensor::Full(const Shape& shape, float value) {
  Tensor t = Empty(shape);
  std::fill_n(t.mutable_data<float>(), t.numel(), value);
  return t;
}

int64_t Tensor::stride(int i) const {
  CHECK(i >= -rank() && i < rank());
  return strides_[i < 0 ? i + rank() : i];
}

bool Tensor::contiguous() const {
  int64_t expected = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != expected) return false;
    expected *= shape_[i];
  }
  return true;
}

Tensor Tensor::Slice(int axis, int64_t begin, int64_t end) const {
  const int a = axis < 0 ? axis + rank() : axis;
  CHECK(begin >= 0 && begin <= end && end <= dim(a))
      << "slice [" << begin << ", " << end << ") of axis " << axis << " of "
      << shape_;
  Tensor t = *this;
  t.shape_ = shape_.With(a, end - begin);
  t.offset_ += begin * strides_[a] * SizeOf(dtype_);
  t.var_ = -1;
  return t;
}

Tensor Tensor::Select(int axis, int64_t index) const {
  const int a = axis < 0 ? axis + rank() : axis;
  Tensor t = Slice(a, index, index + 1);
  std::vector<int64_t> dims(t.shape_.dims().begin(), t.shape_.dims().end());
  dims.erase(dims.begin() + a);
  t.shape_ = Shape(dims);
  std::copy(strides_.begin() + a + 1, strides_.end(), t.strides_.begin() + a);
  return t;
}

Tensor Tensor::Reshape(const Shape& shape) const {
  CHECK(contiguous()) << "reshape of a strided view of " << shape_;
  CHECK_EQ(shape.numel(), numel());
  Tensor t = Wrap(storage_, offset_, shape, dtype_);
  return t;
}

Tensor Tensor::Reinterpret(const Shape& shape, DType dtype) const {
  CHECK(contiguous());
  CHECK_EQ(shape.numel() * SizeOf(dtype), nbytes());
  CHECK_EQ(reinterpret_cast<uintptr_t>(raw()) % SizeOf(dtype), 0u);
  return Wrap(storage_, offset_, shape, dtype);
}

Tensor Tensor::Clone() const {
  Tensor t = Empty(shape_, dtype_, device());
  t.CopyFrom(*this);
  return t;
}

void Tensor::CopyFrom(const Tensor& source) {
  CHECK(shape_ == source.shape_ && dtype_ == source.dtype_)
      << shape_ << " from " << source.shape_;
  CHECK(device() == source.device());
  if (numel() == 0) return;
  if (contiguous() && source.contiguous()) {
    Backend(device()).CopyOnDevice(mutable_raw(), source.raw(), nbytes(),
                                   nullptr);
    return;
  }
  CHECK(device().is_cpu()) << "strided copies run on the CPU";
  Tensor packed = source;
  if (!source.contiguous()) {
    packed = Empty(shape_, dtype_);
    CopyStrided<true>(packed.mutable_raw(),
                      const_cast<std::byte*>(source.raw()), SizeOf(dtype_),
                      shape_.dims(), source.strides_.data());
  }
  CopyStrided<false>(packed.mutable_raw(), mutable_raw(), SizeOf(dtype_),
                     shape_.dims(), strides_.data());
}

Tensor Tensor::To(Device target, DeviceStream stream) const {
  if (!defined() || device() == target) return *this;
  const Tensor source = Contiguous();
  Tensor t = Empty(shape_, dtype_, target);
  if (target.is_cuda()) {
    Backend(target).CopyToDevice(t.mutable_raw(), source.raw(), nbytes(),
                                 stream);
  } else {
    Backend(device()).CopyToHost(t.mutable_raw(), source.raw(), nbytes(),
                                 stream);
  }
  return t;
}

Tensor Tensor::To(DType target) const {
  if (dtype_ == target) return *this;
  CHECK(device().is_cpu()) << "dtype conversion runs on the CPU";
  const Tensor in = Contiguous();
  if (dtype_ != DType::kF32 && target != DType::kF32 && target != DType::kF64) {
    return in.To(DType::kF32).To(target);
  }
  Tensor out = Empty(shape_, target);
  switch (target) {
    case DType::kF32:
      switch (dtype_) {
        case DType::kF64:
          return ToFloatTensor<double>(in);
        case DType::kBF16:
          return ToFloatTensor<bf16>(in);
        case DType::kF16:
          return ToFloatTensor<f16>(in);
        case DType::kI64:
          return ToFloatTensor<int64_t>(in);
        case DType::kI32:
          return ToFloatTensor<int32_t>(in);
        case DType::kI8:
          return ToFloatTensor<int8_t>(in);
        case DType::kU8:
          return ToFloatTensor<uint8_t>(in);
        case DType::kF32:
          break;
      }
      break;
    case DType::kF64:
      Convert<float, double>(in.To(DType::kF32), &out,
                             [](float x) { return static_cast<double>(x); });
      break;
    case DType::kBF16:
      Convert<float, bf16>(in, &out, ToBF16);
      break;
    case DType::kF16:
      Convert<float, f16>(in, &out, ToF16);
      break;
    case DType::kI32:
      Convert<float, int32_t>(in, &out,
                              [](float x) { return static_cast<int32_t>(x); });
      break;
    default:
      CHECK(false) << "no conversion from " << Name(dtype_) << " to "
                   << Name(target);
  }
  return out;
}

}  // namespace intarsia
