// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// One value per feature that is likely to have much weight. Pooling relative to it loses no digits to the level of the
/// values, nor to outliers without weight.
template <BagScalar Work>
class ReferenceValues {
public:
    /// The highest value per feature, if the values are the reward.
    void set(const auto& highest) {
        numbers_.assign(padded(highest.size()), 0);
        std::transform(highest.begin(), highest.end(), numbers_.begin(), [](auto x) { return static_cast<Work>(x); });
    }

    /// The value with the highest reward among a few evenly spaced instances.
    void set(const AnyView& values, const AnyView& reward, const std::vector<Index>& active) {
        const Index rows = reward.rows();
        const auto cols = static_cast<Index>(active.size());
        const Index seen = (std::min)(cols, most_seen);
        numbers_.assign(padded(rows), 0);
        for (Buffer<Work>* of_rows : {&highest_, &rewards_, &values_}) of_rows->resize(rows);
        Work* const number = numbers_.data();
        Work* const highest = highest_.data();
        for (Index i = 0; i < seen; ++i) {
            const Index n = active[static_cast<std::size_t>(i * cols / seen)];
            const Work* const x = reward.column(n, rewards_.data());
            const Work* const value = values.column(n, values_.data());
            if (i == 0) {
                std::copy_n(x, rows, highest);
                std::copy_n(value, rows, number);
            }
            for (Index d = 0; d < rows; ++d) {  // without a branch: all four are read
                const Work reward_before = highest[d];
                const Work value_before = number[d];
                const Work reward_here = x[d];
                const Work value_here = value[d];
                highest[d] = reward_here > reward_before ? reward_here : reward_before;
                number[d] = reward_here > reward_before ? value_here : value_before;
            }
        }
    }

    /// Padded by zeros.
    const Buffer<Work>& numbers() const { return numbers_; }

private:
    static constexpr Index most_seen = 16;

    Buffer<Work> numbers_;
    Buffer<Work> highest_;
    Buffer<Work> rewards_, values_;  ///< Copies, if they are not read in place.
};

}  // namespace otpool::detail
