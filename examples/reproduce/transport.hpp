#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "made_up.hpp"

namespace reproduce {

/// Exact transport as the linear programme it is: max <X, P> over plans P >= 0 whose features have mass 1/D each and
/// whose instances 1/N. X is finite, and so is the difference of any two entries. In units of 1/lcm(D, N) all masses
/// are whole numbers, so the plan is exact.
///
/// Successive shortest paths: every feature ships its units along the cheapest way there is, to an instance with room,
/// or to a full one where another feature makes room by shipping elsewhere. Ways are found by Bellman and Ford's
/// relaxation: O(D N) a round, a few rounds a way, about D + N ways.
class ExactTransport {
public:
    explicit ExactTransport(const Eigen::MatrixXd& reward)
        : cost_(reward.maxCoeff() - reward.array()),
          units_(Units::Zero(reward.rows(), reward.cols())),
          total_(std::lcm(reward.rows(), reward.cols())),
          room_(static_cast<std::size_t>(reward.cols()), total_ / reward.cols()),
          negligible_(1e-13 * cost_.maxCoeff()) {
        for (Eigen::Index d = 0; d < reward.rows(); ++d) {
            std::int64_t supply = total_ / reward.rows();
            while (supply > 0) supply -= ship(d, supply);
        }
    }

    /// D x N, of sum 1.
    Eigen::MatrixXd plan() const { return units_.cast<double>() / static_cast<double>(total_); }

private:
    using Units = Eigen::Matrix<std::int64_t, Eigen::Dynamic, Eigen::Dynamic>;

    /// The cheapest ways from one feature to every instance.
    struct Ways {
        Eigen::VectorXd cost;            ///< to instance n
        std::vector<Eigen::Index> into;  ///< the feature that ships to instance n
        std::vector<Eigen::Index> from;  ///< the instance that feature d ships less to
    };

    Ways cheapest_ways(Eigen::Index source) const {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        Ways ways{Eigen::VectorXd::Constant(cost_.cols(), infinity),
                  std::vector<Eigen::Index>(static_cast<std::size_t>(cost_.cols())),
                  std::vector<Eigen::Index>(static_cast<std::size_t>(cost_.rows()))};
        Eigen::VectorXd feature_cost = Eigen::VectorXd::Constant(cost_.rows(), infinity);
        feature_cost[source] = 0;
        for (bool changed = true; changed;) {
            changed = false;
            for (Eigen::Index n = 0; n < cost_.cols(); ++n) {
                for (Eigen::Index d = 0; d < cost_.rows(); ++d) {
                    if (feature_cost[d] + cost_(d, n) < ways.cost[n] - negligible_) {
                        ways.cost[n] = feature_cost[d] + cost_(d, n);
                        ways.into[static_cast<std::size_t>(n)] = d;
                        changed = true;
                    }
                }
                for (Eigen::Index d = 0; d < cost_.rows(); ++d) {
                    if (units_(d, n) > 0 && ways.cost[n] - cost_(d, n) < feature_cost[d] - negligible_) {
                        feature_cost[d] = ways.cost[n] - cost_(d, n);
                        ways.from[static_cast<std::size_t>(d)] = n;
                        changed = true;
                    }
                }
            }
        }
        return ways;
    }

    /// Ships what fits of `supply` units along the cheapest way; returns how many.
    std::int64_t ship(Eigen::Index source, std::int64_t supply) {
        const Ways ways = cheapest_ways(source);
        const auto into = [&](Eigen::Index n) { return ways.into[static_cast<std::size_t>(n)]; };
        const auto from = [&](Eigen::Index d) { return ways.from[static_cast<std::size_t>(d)]; };
        Eigen::Index end = -1;
        for (Eigen::Index n = 0; n < cost_.cols(); ++n) {
            const bool has_room = room_[static_cast<std::size_t>(n)] > 0;
            if (has_room && (end < 0 || ways.cost[n] < ways.cost[end])) end = n;
        }
        std::int64_t count = std::min(supply, room_[static_cast<std::size_t>(end)]);
        for (Eigen::Index d = into(end); d != source; d = into(from(d))) {
            count = std::min(count, units_(d, from(d)));
        }
        room_[static_cast<std::size_t>(end)] -= count;
        units_(into(end), end) += count;
        for (Eigen::Index d = into(end); d != source; d = into(from(d))) {
            units_(d, from(d)) -= count;
            units_(into(from(d)), from(d)) += count;
        }
        return count;
    }

    Eigen::MatrixXd cost_;
    Units units_;
    std::int64_t total_;
    std::vector<std::int64_t> room_;
    double negligible_;
};

/// Whether a single plan is best. If several are, nudging the reward one way and the other picks different ones.
inline bool has_one_best_plan(const Eigen::MatrixXd& reward) {
    const Eigen::MatrixXd below_best = reward.array() - reward.maxCoeff();
    const double spread = below_best.isZero(0) ? 1 : -below_best.minCoeff();
    const Eigen::MatrixXd nudge = 1e-9 * spread * Generator(2).normal(reward.rows(), reward.cols());
    return ExactTransport(below_best + nudge).plan() == ExactTransport(below_best - nudge).plan();
}

}  // namespace reproduce
