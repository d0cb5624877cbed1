#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "generator.hpp"

namespace support {

/// How k_means() runs.
struct KMeansOptions {
    int steps = 100;          ///< Steps of Lloyd at most, 0 or more; with 0 the centres are those of the start.
    double tolerance = 1e-4;  ///< It stops where a step lowers the objective by less than this part of it.
    std::uint64_t seed = 1;   ///< Of the start's random numbers.
    /// Called as the work goes on, with the number of centres to which all distances were computed since the last call.
    /// That adds up to K (steps + 2) at most.
    std::function<void(std::size_t)> advance = {};
};

/// K centres of N points, and the centre that each point belongs to.
struct KMeans {
    Eigen::MatrixXd centres;           ///< D x K
    std::vector<Eigen::Index> labels;  ///< N: the index of a point's centre.
    double objective = 0;              ///< sum_n ||x_n - c_label(n)||^2
    Eigen::Index distinct = 0;         ///< K, or the number of different points if that is less.
    int steps = 0;                     ///< The steps of Lloyd that were taken.
};

namespace detail {

/// The state of k_means(), in coordinates around the points' mean. No number is above 2, so no square overflows.
class Clusters {
public:
    Clusters(Eigen::MatrixXd points, Eigen::Index centres)
        : points_(std::move(points)), centres_(points_.rows(), centres) {
        const double largest = points_.size() > 0 ? points_.cwiseAbs().maxCoeff() : 0;
        if (largest > 0) scale_ = largest;
        points_ /= scale_;
        mean_ = points_.rowwise().mean();
        points_.colwise() -= mean_;
    }

    /// Start of k-means++: every centre is a point, drawn with probability proportional to its squared distance from
    /// the centres so far. (Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007.)
    void start(Generator& random, const auto& advance) {
        const Eigen::Index count = points_.cols();
        labels_.assign(static_cast<std::size_t>(count), 0);
        distances_.setConstant(count, std::numeric_limits<double>::infinity());
        distinct_ = centres_.cols();
        for (Eigen::Index k = 0; k < centres_.cols(); ++k) {
            const double sum = k == 0 ? 0 : distances_.sum();
            if (k > 0 && sum == 0) distinct_ = std::min(distinct_, k);
            centres_.col(k) = points_.col(sum > 0 ? drawn(random.uniform() * sum) : random.integer(0, count - 1));
            for (Eigen::Index n = 0; n < count; ++n) offer(n, k);
            advance(1);
        }
    }

    /// A step of Lloyd: moves every centre to the mean of its points, and every point to its nearest centre.
    void step(const auto& advance) {
        move_centres();
        assign();
        advance(static_cast<std::size_t>(centres_.cols()));
    }

    /// Gives every centre without points the point that is farthest from its own, so that the objective falls.
    void fill_empty() {
        std::vector<Eigen::Index> sizes(static_cast<std::size_t>(centres_.cols()), 0);
        const auto size_of = [&](Eigen::Index k) -> Eigen::Index& { return sizes[static_cast<std::size_t>(k)]; };
        for (const Eigen::Index k : labels_) ++size_of(k);
        for (Eigen::Index k = 0; k < centres_.cols(); ++k) {
            if (size_of(k) > 0) continue;
            Eigen::Index farthest = -1;  // of those that do not leave a centre without points
            for (Eigen::Index n = 0; n < points_.cols(); ++n) {
                if (distances_[n] == 0 || size_of(label(n)) == 1) continue;
                if (farthest < 0 || distances_[n] > distances_[farthest]) farthest = n;
            }
            if (farthest < 0) return;
            --size_of(label(farthest));
            ++size_of(k);
            centres_.col(k) = points_.col(farthest);
            label(farthest) = k;
            distances_[farthest] = 0;
        }
    }

    double objective() const { return distances_.sum(); }

    KMeans result(int steps) && {
        return {.centres = scale_ * (centres_.colwise() + mean_),
                .labels = std::move(labels_),
                .objective = objective() * scale_ * scale_,
                .distinct = distinct_,
                .steps = steps};
    }

private:
    Eigen::Index& label(Eigen::Index n) { return labels_[static_cast<std::size_t>(n)]; }

    /// The point at which the distances before it have this sum. Its own is not 0.
    Eigen::Index drawn(double sum) const {
        Eigen::Index last = 0;
        for (Eigen::Index n = 0; n < distances_.size(); ++n) {
            if (distances_[n] == 0) continue;
            last = n;
            if (sum < distances_[n]) break;
            sum -= distances_[n];
        }
        return last;
    }

    /// Point n goes to centre k if that is closer than its own.
    void offer(Eigen::Index n, Eigen::Index k) {
        const double distance = (points_.col(n) - centres_.col(k)).squaredNorm();
        if (distance >= distances_[n]) return;
        distances_[n] = distance;
        label(n) = k;
    }

    void move_centres() {
        Eigen::MatrixXd moves = Eigen::MatrixXd::Zero(centres_.rows(), centres_.cols());
        Eigen::VectorXd sizes = Eigen::VectorXd::Zero(centres_.cols());
        for (Eigen::Index n = 0; n < points_.cols(); ++n) {
            moves.col(label(n)) += points_.col(n) - centres_.col(label(n));
            ++sizes[label(n)];
        }
        centres_ += moves * sizes.cwiseMax(1).cwiseInverse().asDiagonal();
    }

    /// Products of matrices find the nearest centre; the distances themselves decide whether it is closer, so
    /// rounding gives no point to a centre that is farther.
    void assign() {
        constexpr Eigen::Index block_size = 512;
        const Eigen::VectorXd norms = centres_.colwise().squaredNorm();
        Eigen::MatrixXd products;
        for (Eigen::Index first = 0; first < points_.cols(); first += block_size) {
            const Eigen::Index size = std::min(block_size, points_.cols() - first);
            products.noalias() = -2 * centres_.transpose() * points_.middleCols(first, size);
            products.colwise() += norms;
            for (Eigen::Index i = 0; i < size; ++i) {
                const Eigen::Index n = first + i;
                distances_[n] = (points_.col(n) - centres_.col(label(n))).squaredNorm();
                Eigen::Index nearest = 0;
                products.col(i).minCoeff(&nearest);
                offer(n, nearest);
            }
        }
    }

    Eigen::MatrixXd points_, centres_;
    double scale_ = 1;
    Eigen::VectorXd mean_;
    std::vector<Eigen::Index> labels_;
    Eigen::VectorXd distances_;  // squared, from a point to its centre
    Eigen::Index distinct_ = 0;
};

}  // namespace detail

/// k-means: K centres of the points (D x N, finite) that make the objective small, by steps of Lloyd from the start of
/// k-means++. But for rounding, no step raises the objective. If there are fewer than K different points, some centres
/// are equal. The same seed gives the same centres. Cost: 2 K N D flops a step; memory: N D numbers. Throws
/// std::invalid_argument unless 1 <= K <= N.
inline KMeans k_means(Eigen::MatrixXd points, Eigen::Index centres, const KMeansOptions& options = {}) {
    if (centres < 1 || centres > points.cols()) {
        throw std::invalid_argument("number of centres: found " + std::to_string(centres) + ", allowed 1 to " +
                                    std::to_string(points.cols()) + ", the number of points");
    }
    const auto advance = [&](std::size_t done) {
        if (options.advance) options.advance(done);
    };
    Generator random(options.seed);
    detail::Clusters clusters(std::move(points), centres);
    clusters.start(random, advance);
    int steps = 0;
    for (double last = std::numeric_limits<double>::infinity(); steps < options.steps; ++steps) {
        const double objective = clusters.objective();
        if (objective == 0 || (steps > 0 && last - objective <= options.tolerance * last)) break;
        last = objective;
        clusters.step(advance);
        clusters.fill_empty();
    }
    return std::move(clusters).result(steps);
}

/// Which columns to draw: `count` of `total` different ones, each set with the same probability, in rising order. (Knuth,
/// "The Art of Computer Programming" 2, algorithm 3.4.2 S.)
inline std::vector<Eigen::Index> drawn_columns(Eigen::Index total, Eigen::Index count, std::uint64_t seed) {
    Generator random(seed);
    std::vector<Eigen::Index> columns;
    for (Eigen::Index n = 0; n < total && count > 0; ++n) {
        if (random.uniform() * static_cast<double>(total - n) >= static_cast<double>(count)) continue;
        columns.push_back(n);
        --count;
    }
    return columns;
}

}  // namespace support
