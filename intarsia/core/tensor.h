// Tensor: a value handle on shared storage. Copies are cheap and share the
// data; Clone() copies it. Views (Slice, Select, Reshape) are explicit and
// share too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/check.h"
#include "intarsia/core/device.h"
#include "intarsia/core/dtype.h"

namespace intarsia {

// Up to six dimensions, each ≥ 0.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims)
      : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int i) const;  // negative i counts from the end
  int64_t numel() const;
  std::span<const int64_t> dims() const {
    return {dims_.data(), static_cast<size_t>(rank_)};
  }
  Shape With(int axis, int64_t dim) const;
  bool operator==(const Shape& other) const;
  std::string ToString() const;  // "[2, 37, 48]"

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);  // for gtest
inline check_internal::Failure& operator<<(check_internal::Failure& failure,
                                           const Shape& shape) {
  return failure << shape.ToString();
}

// Bytes that tensors share: allocated on a device, or borrowed from an owner
// that the storage keeps alive (a mapped file).
class Storage {
 public:
  static std::shared_ptr<Storage> Allocate(size_t bytes, Device device);
  // Borrows [data, data + bytes); `owner` is released with the last handle.
  static std::shared_ptr<Storage> Borrow(const void* data, size_t bytes,
                                         std::shared_ptr<const void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool borrowed() const { return owner_ != nullptr; }

 private:
  Storage() = default;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_;
  std::shared_ptr<const void> owner_;  // null when allocated
};

class Tensor {
 public:
  Tensor() = default;  // undefined: stands for "none" wherever one may be

  static Tensor Empty(const Shape& shape, DType dtype = DType::kF32,
                      Device device = Cpu());
  static Tensor Zeros(const Shape& shape, DType dtype = DType::kF32,
                      Device device = Cpu());
  static Tensor Full(const Shape& shape, float value);  // f32, CPU
  template <typename T>
  static Tensor From(std::span<const T> values, const Shape& shape);
  template <typename T>
  static Tensor From(const std::vector<T>& values, const Shape& shape) {
    return From(std::span<const T>(values), shape);
  }
  // A contiguous tensor over part of `storage`, which must be large enough.
  static Tensor Wrap(std::shared_ptr<Storage> storage, size_t byte_offset,
                     const Shape& shape, DType dtype);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t numel() const { return shape_.numel(); }
  size_t nbytes() const { return numel() * SizeOf(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device() : Cpu(); }
  int64_t stride(int i) const;  // in elements
  bool contiguous() const;
  const std::shared_ptr<Storage>& storage() const { return storage_; }

  // Checked: T must be the dtype. Handles are values, so constness of the
  // handle guards against accidents, not against another handle's writes.
  template <typename T>
  const T* data() const {
    CHECK(dtype_ == DTypeOf<T>::value)
        << "tensor is " << Name(dtype_) << ", asked for "
        << Name(DTypeOf<T>::value);
    return reinterpret_cast<const T*>(raw());
  }
  template <typename T>
  T* mutable_data() {
    return const_cast<T*>(std::as_const(*this).template data<T>());
  }
  const std::byte* raw() const {
    return storage_ ? storage_->data() + offset_ : nullptr;
  }
  std::byte* mutable_raw() { return const_cast<std::byte*>(raw()); }

  // Views. Slice keeps the rank; Select drops the axis; Reshape needs a
  // contiguous tensor and may hold one -1.
  Tensor Slice(int axis, int64_t begin, int64_t end) const;
  Tensor Select(int axis, int64_t index) const;
  Tensor Reshape(const Shape& shape) const;
  // The same bytes under another dtype; contiguous, of equal size in bytes, and
  // aligned for the dtype.
  Tensor Reinterpret(const Shape& shape, DType dtype) const;

  // Copies. To() returns *this when there is nothing to change. Conversions run
  // on the CPU and go through fp32 (f64 stays f64).
  Tensor Clone() const;
  Tensor Contiguous() const { return contiguous() ? *this : Clone(); }
  Tensor To(DType dtype) const;
  Tensor To(Device device, DeviceStream stream = nullptr) const;
  void CopyFrom(const Tensor& source);  // same shape, dtype; any layout on CPU

  template <typename T>
  std::vector<T> ToVector() const;  // contiguous copy on the host

  // The tape's name for this value, or -1 when nothing differentiates it.
  int32_t var() const { return var_; }
  void set_var(int32_t var) { var_ = var; }

 private:
  std::shared_ptr<Storage> storage_;
  size_t offset_ = 0;  // bytes
  Shape shape_;
  std::array<int64_t, Shape::kMaxRank> strides_{};
  DType dtype_ = DType::kF32;
  int32_t var_ = -1;
};

template <typename T>
Tensor Tensor::From(std::span<const T> values, const Shape& shape) {
  CHECK_EQ(static_cast<int64_t>(values.size()), shape.numel());
  Tensor t = Empty(shape, DTypeOf<T>::value);
  if (!values.empty()) {
    std::memcpy(t.mutable_raw(), values.data(), values.size_bytes());
  }
  return t;
}

template <typename T>
std::vector<T> Tensor::ToVector() const {
  const Tensor host = To(Cpu()).Contiguous();
  const T* p = host.data<T>();
  return std::vector<T>(p, p + host.numel());
}

}  // namespace intarsia
