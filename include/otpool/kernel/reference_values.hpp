// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// A value of every feature that is likely to weigh much. What is pooled relative to it loses no digits to the level of
/// the values, nor to outliers without weight.
template <BagScalar Scalar, BagScalar Work = Scalar>
class ReferenceValues {
public:
    /// The highest of every feature, where the values are the reward.
    void set(const auto& highest) {
        resize(highest.size());
        std::transform(highest.begin(), highest.end(), numbers_.begin(), [](auto x) { return static_cast<Work>(x); });
    }

    /// That of the highest reward among a few instances, evenly spaced.
    void set(const MatrixView<Scalar>& values, const MatrixView<Scalar>& reward, const std::vector<Index>& active) {
        const Index rows = reward.rows();
        const auto cols = static_cast<Index>(active.size());
        const Index seen = std::min(cols, most_seen);
        resize(rows);
        for (Buffer<Scalar>* of_rows : {&highest_, &rewards_, &values_}) of_rows->resize(rows);
        Work* const number = numbers_.data();
        Scalar* const highest = highest_.data();
        for (Index i = 0; i < seen; ++i) {
            const Index n = active[static_cast<std::size_t>(i * cols / seen)];
            const Scalar* const x = reward.contiguous_col(n, rewards_.data()).data();
            const Scalar* const value = values.contiguous_col(n, values_.data()).data();
            if (i == 0) {
                std::copy_n(x, rows, highest);
                std::copy_n(value, rows, number);
            }
            for (Index d = 0; d < rows; ++d) {  // without a branch: all four are read
                const Scalar reward_before = highest[d];
                const Work value_before = number[d];
                const Scalar reward_here = x[d];
                const Scalar value_here = value[d];
                highest[d] = reward_here > reward_before ? reward_here : reward_before;
                number[d] = reward_here > reward_before ? value_here : value_before;
            }
        }
    }

    /// padded by zeros
    const Buffer<Work>& numbers() const { return numbers_; }

private:
    static constexpr Index most_seen = 16;

    void resize(Index rows) {
        numbers_.resize(padded(rows));
        numbers_.tail(numbers_.size() - rows).setZero();
    }

    Buffer<Work> numbers_;
    Buffer<Scalar> highest_;
    Buffer<Scalar> rewards_, values_;  ///< Of an instance whose numbers do not follow each other.
};

}  // namespace otpool::detail
