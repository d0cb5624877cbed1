// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// An array that takes memory only beyond its largest size so far: for vectors in a state that is used for one bag after
/// the other. The memory is aligned to whole registers.
template <BagScalar Number>
class Buffer {
public:
    Buffer() = default;
    Buffer(const Buffer& other) { *this = other; }
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(const Buffer& other) {
        if (this == &other) return *this;
        resize(other.size_);
        std::copy(other.begin(), other.end(), begin());
        return *this;
    }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Buffer() { free(); }

    /// Takes the numbers, and the size, of a vector expression.
    template <class Derived>
    Buffer& operator=(const Eigen::DenseBase<Derived>& numbers) {
        resize(numbers.size());
        vector() = numbers.derived();
        return *this;
    }

    /// Contents are unspecified afterwards.
    void resize(Index size) {
        if (size > capacity_) {
            free();
            data_ = Memory().allocate(static_cast<std::size_t>(size));
            capacity_ = size;
        }
        size_ = size;
    }
    void assign(Index size, Number number) {
        resize(size);
        std::fill(begin(), end(), number);
    }
    void swap(Buffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

    Index size() const { return size_; }
    Number* data() { return data_; }
    const Number* data() const { return data_; }
    Number* begin() { return data_; }
    const Number* begin() const { return data_; }
    Number* end() { return data_ + size_; }
    const Number* end() const { return data_ + size_; }
    /// A view for Eigen's expressions.
    Eigen::Map<Vector<Number>> vector() { return {data_, size_}; }
    Eigen::Map<const Vector<Number>> vector() const { return {data_, size_}; }
    Number& operator[](Index i) { return data_[i]; }
    const Number& operator[](Index i) const { return data_[i]; }

private:
    using Memory = Eigen::aligned_allocator<Number>;

    void free() {
        Memory().deallocate(data_, static_cast<std::size_t>(capacity_));
        data_ = nullptr;
        size_ = capacity_ = 0;
    }

    Number* data_ = nullptr;
    Index size_ = 0;
    Index capacity_ = 0;
};

}  // namespace otpool::detail
