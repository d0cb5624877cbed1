// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <new>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A vector whose memory outlives its size: it takes memory only beyond the largest size so far. For what there is one
/// of an instance in state that is used for one bag after the other.
template <class Number>
class Buffer : public Eigen::Map<Vector<Number>, Eigen::AlignedMax> {
    using Map = Eigen::Map<Vector<Number>, Eigen::AlignedMax>;

public:
    Buffer() : Map(nullptr, 0) {}
    Buffer(const Buffer& other) : Buffer() { *this = other; }
    Buffer(Buffer&& other) noexcept : Buffer() { swap(other); }
    template <class Derived>
    explicit(false) Buffer(const Eigen::DenseBase<Derived>& other) : Buffer() {
        *this = other;
    }
    Buffer& operator=(const Buffer& other) { return *this = static_cast<const Map&>(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Buffer() = default;

    /// Of the size of what it is assigned.
    template <class Derived>
    Buffer& operator=(const Eigen::DenseBase<Derived>& other) {
        resize(other.size());
        Map::operator=(other.derived());
        return *this;
    }

    /// Its numbers are then any.
    void resize(Index size) {
        if (size > memory_.size()) memory_.resize(size);
        view(size);
    }

private:
    void view(Index size) {
        ::new (static_cast<Map*>(this)) Map(memory_.data(), size);  // as Eigen says to move a map
    }

    void swap(Buffer& other) noexcept {
        const Index size = this->size();
        const Index size_of_other = other.size();
        memory_.swap(other.memory_);
        view(size_of_other);
        other.view(size);
    }

    Vector<Number> memory_;
};

}  // namespace otpool::detail
