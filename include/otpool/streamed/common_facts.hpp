// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/streamed/ranks.hpp"

namespace otpool::detail {

/// A number that stands for others: FNV-1a of their bits.
template <class Scalar>
double digest(const Vector<Scalar>& numbers) {
    std::uint64_t hash = 14695981039346656037U;
    for (const Scalar number : numbers) {
        hash ^= std::bit_cast<std::uint64_t>(static_cast<double>(number));
        hash *= 1099511628211U;
    }
    return static_cast<double>(hash >> 12U);
}

/// What must be the same on all ranks.
struct CommonFact {
    const char* name;
    double value;
};

/// Throws InvalidArgument, on all ranks the same, unless all have the same facts. All call it, with as many facts.
inline void require_common(const AnyRanks& ranks, const std::vector<CommonFact>& facts) {
    const auto size = static_cast<std::size_t>(ranks.size());
    std::vector<double> own;
    for (const CommonFact& fact : facts) own.push_back(fact.value);
    std::vector<double> all(size * facts.size());
    ranks.gather(own, std::vector<Index>(size, static_cast<Index>(facts.size())), all);
    for (std::size_t i = 0; i < all.size(); ++i) {
        const std::size_t fact = i % facts.size();
        const double first = all[fact];
        require_that(std::bit_cast<std::uint64_t>(all[i]) == std::bit_cast<std::uint64_t>(first),
                     text(facts[fact].name, " on rank ", i / facts.size()), all[i], text(first, ", as on rank 0"));
    }
}

}  // namespace otpool::detail
