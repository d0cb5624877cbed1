#pragma once

#include <Eigen/Core>
#include <array>
#include <cmath>
#include <cstddef>
#include <sstream>
#include <string>
#include <utility>

#include <otpool/otpool.hpp>

#include "made_up.hpp"
#include "transport.hpp"

/// The poolings that are reproduced: each computed directly, by its textbook formula and with nothing of otpool,
/// and iterated by a solver.
namespace reproduce {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

enum class PoolingName { mean, max, softmax, attention, mixed, exact_transport };

inline constexpr std::array pooling_names = {PoolingName::mean,      PoolingName::max,   PoolingName::softmax,
                                             PoolingName::attention, PoolingName::mixed, PoolingName::exact_transport};

inline std::string to_string(PoolingName name) {
    constexpr std::array texts = {"mean", "max", "softmax", "attention", "mixed", "exact transport"};
    return texts[static_cast<std::size_t>(name)];
}

/// A bag, and the other inputs of its poolings.
struct Input {
    Matrix bag;                ///< D x N
    double spread;             ///< the bag's largest entry less its smallest; 1 where that is 0
    double temperature;        ///< of softmax
    double mean_share = 0.75;  ///< of mixed
    Matrix V;                  ///< of attention, L x D
    Vector w;                  ///< of attention, L

    /// Throws otpool::InvalidArgument for a spread whose inverse, or that itself, double can hardly hold.
    explicit Input(Matrix instances) : bag(std::move(instances)), spread(bag.maxCoeff() - bag.minCoeff()) {
        if (spread != 0 && !(spread > 1e-290 && spread < 1e290)) {
            std::ostringstream found;
            found << spread;
            throw otpool::InvalidArgument("spread of a bag", found.str(), "0, or 1e-290 to 1e290");
        }
        if (spread == 0) spread = 1;
        temperature = spread / 10;
        Generator generator(3);
        V = 4 / spread / std::sqrt(static_cast<double>(bag.rows())) * generator.normal(16, bag.rows());
        w = 0.5 * generator.normal(16, 1);
    }
};

/// A pooled bag, by formula or by a solver.
struct Pooled {
    Matrix plan;  ///< D x N, of sum 1
    Vector vector;
    int iterations = 0;
    otpool::Status status = otpool::Status::converged;
};

namespace direct {

/// y_d = sum_n P_dn x_dn / sum_n P_dn
inline Pooled weighted(const Matrix& weights, const Matrix& bag) {
    const Vector mass = weights.rowwise().sum();
    return {weights / weights.sum(), weights.cwiseProduct(bag).rowwise().sum().cwiseQuotient(mass)};
}

inline Pooled mean(const Matrix& bag) {
    return {Matrix::Constant(bag.rows(), bag.cols(), 1 / static_cast<double>(bag.size())), bag.rowwise().mean()};
}

inline Pooled max(const Matrix& bag) {
    const Vector largest = bag.rowwise().maxCoeff();
    Matrix plan = (bag.colwise() - largest).unaryExpr([](double below) { return below == 0 ? 1.0 : 0.0; });
    plan.array().colwise() /= plan.rowwise().sum().array() * static_cast<double>(bag.rows());  // ties share
    return {plan, largest};
}

inline Pooled softmax(const Matrix& bag, double temperature) {
    Matrix weights = ((bag.colwise() - bag.rowwise().maxCoeff().eval()) / temperature).array().exp();
    weights.array().colwise() /= weights.rowwise().sum().array().eval();
    return weighted(weights, bag);
}

/// y = sum_n q0_n x_n, q0 = softmax_n( w^T tanh(V x_n) ): Ilse, Tomczak & Welling, ICML 2018.
inline Pooled attention(const Matrix& bag, const Matrix& V, const Vector& w) {
    const Vector scores = (V * bag).array().tanh().matrix().transpose() * w;
    Vector q0 = (scores.array() - scores.maxCoeff()).exp();
    q0 /= q0.sum();
    return {q0.transpose().replicate(bag.rows(), 1) / static_cast<double>(bag.rows()), bag * q0};
}

inline Pooled mixed(const Matrix& bag, double mean_share) {
    const Pooled all = mean(bag);
    const Pooled best = max(bag);
    return {mean_share * all.plan + (1 - mean_share) * best.plan,
            mean_share * all.vector + (1 - mean_share) * best.vector};
}

inline Pooled exact_transport(const Matrix& bag) { return weighted(ExactTransport(bag).plan(), bag); }

}  // namespace direct

inline Pooled computed_directly(PoolingName name, const Input& input) {
    switch (name) {
        case PoolingName::mean: return direct::mean(input.bag);
        case PoolingName::max: return direct::max(input.bag);
        case PoolingName::softmax: return direct::softmax(input.bag, input.temperature);
        case PoolingName::attention: return direct::attention(input.bag, input.V, input.w);
        case PoolingName::mixed: return direct::mixed(input.bag, input.mean_share);
        case PoolingName::exact_transport: return direct::exact_transport(input.bag);
    }
    return {};
}

namespace detail {

template <class Pooling>
Pooled solved(const Pooling& pooling, const Matrix& bag) {
    const auto solution = pooling.solve({bag});
    return {solution.plan(), pooling.read(solution), solution.iterations, solution.status};
}

/// Two levels: the plan is that of the outer pooling, each of its columns spread out over the bag as the inner
/// pooling's plan is.
inline Pooled solved_mixed(const auto& pooling, const Matrix& bag) {
    const auto& [mean_pooling, max_pooling] = pooling.inner;
    const Pooled mean = solved(mean_pooling, bag);
    const Pooled max = solved(max_pooling, bag);
    const Matrix mean_and_max = (Matrix(bag.rows(), 2) << mean.vector, max.vector).finished();
    Pooled mixed = solved(pooling.outer, mean_and_max);
    const Matrix share = static_cast<double>(bag.rows()) * mixed.plan;
    mixed.plan = share.col(0).asDiagonal() * mean.plan;
    mixed.plan += share.col(1).asDiagonal() * max.plan;
    for (const Pooled& inner : {mean, max}) {
        mixed.iterations += inner.iterations;
        if (mixed.status == otpool::Status::converged) mixed.status = inner.status;
    }
    return mixed;
}

}  // namespace detail

/// The pooling by one solver. Throws otpool::UnsupportedProblem if the solver refuses the problem.
template <class Solver>
Pooled iterated(PoolingName name, const Input& input, const Solver& solver) {
    using otpool::hard;
    switch (name) {
        case PoolingName::mean: return detail::solved(otpool::mean_pooling<double>(solver), input.bag);
        case PoolingName::max: return detail::solved(otpool::max_pooling<double>(solver), input.bag);
        case PoolingName::softmax:
            return detail::solved(otpool::softmax_pooling<double>(input.temperature, solver), input.bag);
        case PoolingName::attention: {
            const otpool::Attention<double> prior{input.V, input.w};
            return detail::solved(otpool::attention_pooling<double>(prior, solver), input.bag);
        }
        case PoolingName::mixed:
            return detail::solved_mixed(otpool::mixed_pooling<double>(input.mean_share, solver), input.bag);
        case PoolingName::exact_transport: {
            const otpool::PoolingParameters<double> parameters{.alpha0 = 0, .features = {hard}, .instances = {hard}};
            return detail::solved(otpool::Pooling{parameters, solver}, input.bag);
        }
    }
    return {};
}

}  // namespace reproduce
