// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/problem/balancing_shift.hpp"

namespace otpool::detail {

/// Lines of one side, and their potentials: `index` says which, or null for all.
struct HeldLines {
    const MarginalLine* lines;
    const Real* potential;
    const Index* index;
    Index size;

    Index at(Index i) const { return index == nullptr ? i : index[i]; }
    /// Whether all are hard; true if there are none.
    bool all_hard() const {
        for (Index i = 0; i < size; ++i) {
            if (!lines[at(i)].is_hard()) return false;
        }
        return true;
    }
    bool any_free() const {
        for (Index i = 0; i < size; ++i) {
            if (lines[at(i)].is_free()) return true;
        }
        return false;
    }
};

/// The total mass that held lines ask for, as a function of t: sum_i prior_i exp(-(potential_i + t) / alpha_i). None may
/// be free.
template <std::same_as<Real> Work = Real>
class HeldMass {
public:
    explicit HeldMass(const HeldLines& held) : held_(held) {}

    AskedMass at(Work t) const {
        Work top = -std::numeric_limits<Work>::infinity();
        const auto log_mass_of = [&](Index i) {
            const Index line = held_.at(i);
            return held_.lines[line].log_mass(held_.potential[line] + t);
        };
        for (Index i = 0; i < held_.size; ++i) top = (std::max)(top, log_mass_of(i));
        Work sum = 0;
        AskedMass asked;
        for (Index i = 0; i < held_.size; ++i) {
            const Work mass = std::exp(log_mass_of(i) - top);
            sum += mass;
            const MarginalLine& line = held_.lines[held_.at(i)];
            asked.size += mass * (1 + std::abs(line.log_prior) + std::abs(log_mass_of(i) - line.log_prior));
            asked.slope += mass / line.alpha;  // 0 if it is hard
        }
        asked.slope /= sum;
        asked.size /= sum;
        asked.log = top + std::log(sum);
        return asked;
    }

private:
    HeldLines held_;
};

}  // namespace otpool::detail
