#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <ostream>
#include <random>

#include "otpool/core/matrix.hpp"

// Random bags, priors and parameters that are the same with every compiler and standard library: the engine's bits are
// fixed by the standard, its distributions are not, so they are made here.

namespace tests {

using otpool::Index;
using otpool::Matrix;
using otpool::Vector;

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    /// In [0, 1), 53 random bits.
    double uniform() { return static_cast<double>(engine_() >> 11U) * 0x1p-53; }
    double uniform(double low, double high) { return low + (high - low) * uniform(); }
    double log_uniform(double low, double high) { return std::exp(uniform(std::log(low), std::log(high))); }
    /// In [low, high].
    Index integer(Index low, Index high) {
        return low + static_cast<Index>(uniform() * static_cast<double>(high - low + 1));
    }
    bool chance(double probability) { return uniform() < probability; }
    /// Standard normal, by Box and Muller.
    double normal() {
        const double radius = std::sqrt(-2 * std::log(1 - uniform()));
        return radius * std::cos(2 * std::numbers::pi * uniform());
    }

private:
    std::mt19937_64 engine_;
};

enum class BagKind {
    normal,   ///< standard normal
    relu,     ///< max(0, normal): ties at 0
    shifted,  ///< normal + 1000
    scaled,   ///< normal times 10^u, u in [-6, 6] of the bag
    uneven,   ///< feature d: e^(2 g) normal + 10 g', g and g' normal
    rounded,  ///< round(2 normal): many ties
};

inline constexpr std::array all_bag_kinds = {BagKind::normal, BagKind::relu,   BagKind::shifted,
                                             BagKind::scaled, BagKind::uneven, BagKind::rounded};

inline const char* name(BagKind kind) {
    switch (kind) {
        case BagKind::normal: return "normal";
        case BagKind::relu: return "relu";
        case BagKind::shifted: return "shifted";
        case BagKind::scaled: return "scaled";
        case BagKind::uneven: return "uneven";
        case BagKind::rounded: return "rounded";
    }
    return "unknown";
}

/// Standard normal numbers.
template <class Scalar>
Matrix<Scalar> random_matrix(Random& random, Index rows, Index cols) {
    Matrix<Scalar> matrix(rows, cols);
    for (Scalar& x : matrix.reshaped()) x = static_cast<Scalar>(random.normal());
    return matrix;
}

/// A D x N bag.
template <class Scalar>
Matrix<Scalar> random_bag(Random& random, Index D, Index N, BagKind kind) {
    const double bag_scale = kind == BagKind::scaled ? std::pow(10.0, random.uniform(-6, 6)) : 1;
    Vector<double> scale = Vector<double>::Constant(D, bag_scale);
    Vector<double> offset = Vector<double>::Constant(D, kind == BagKind::shifted ? 1000 : 0);
    if (kind == BagKind::uneven) {
        for (Index d = 0; d < D; ++d) {
            scale[d] = std::exp(2 * random.normal());
            offset[d] = 10 * random.normal();
        }
    }
    Matrix<Scalar> bag(D, N);
    for (Index n = 0; n < N; ++n) {
        for (Index d = 0; d < D; ++d) {
            double x = scale[d] * random.normal() + offset[d];
            if (kind == BagKind::relu) x = std::max(x, 0.0);
            if (kind == BagKind::rounded) x = std::round(2 * x);
            bag(d, n) = static_cast<Scalar>(x);
        }
    }
    return bag;
}

/// `size` entries of sum 1, their logarithms spread by 1.5; with zeros allowed, a quarter of them 0, but never all.
template <class Scalar>
Vector<Scalar> uneven_prior(Random& random, Index size, bool allow_zeros) {
    Vector<double> prior(size);
    for (Index i = 0; i < size; ++i) {
        prior[i] = std::exp(1.5 * random.normal());
        if (allow_zeros && random.chance(0.25)) prior[i] = 0;
    }
    if (prior.sum() == 0) prior[random.integer(0, size - 1)] = 1;
    return (prior / prior.sum()).template cast<Scalar>();
}

/// Log-uniform in [low, high]; 0 and inf with a chance of `limits` each.
template <class Scalar>
Scalar random_alpha(Random& random, double low, double high, double limits = 0.15) {
    const double alpha = random.log_uniform(low, high);
    const double which = random.uniform();
    if (which < limits) return 0;
    if (which > 1 - limits) return std::numeric_limits<Scalar>::infinity();
    return static_cast<Scalar>(alpha);
}

/// The largest difference between two entries, but at least 1e-3 of the largest entry and more than 0: the unit in
/// which tests measure errors of pooled vectors.
template <class Derived>
double spread(const Eigen::MatrixBase<Derived>& bag) {
    const auto x = bag.template cast<double>();
    const double range = x.maxCoeff() - x.minCoeff();
    return std::max({range, 1e-3 * x.cwiseAbs().maxCoeff(), std::numeric_limits<double>::min()});
}

/// Names a random case, for INFO.
struct Case {
    std::uint64_t seed = 0;
    Index D = 0;
    Index N = 0;
    BagKind kind = BagKind::normal;
    double alpha0 = 1;
    double alpha1 = std::numeric_limits<double>::infinity();
    double alpha2 = 0;
    bool feature_prior = false;
    bool instance_prior = false;

    friend std::ostream& operator<<(std::ostream& out, const Case& c) {
        out << "seed " << c.seed << ", D " << c.D << ", N " << c.N << ", " << name(c.kind) << " bag, alphas "
            << c.alpha0 << ' ' << c.alpha1 << ' ' << c.alpha2;
        if (c.feature_prior) out << ", uneven p0";
        if (c.instance_prior) out << ", uneven q0";
        return out;
    }
};

}  // namespace tests
