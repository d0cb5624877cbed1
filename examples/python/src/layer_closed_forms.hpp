// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <utility>

#include <otpool/core/bags.hpp>
#include <otpool/core/execution.hpp>
#include <otpool/gradient/forward_pass.hpp>
#include <otpool/pooling/pooling.hpp>
#include <otpool/problem/marginal.hpp>
#include <otpool/solver/closed_form.hpp>

#include "arrays.hpp"

// Mean, attention and max pooling, whose derivatives are a line each: networks often pool many small bags by them, and the
// gradient of a general optimum takes longer than all the rest.

namespace otpool_python {

/// The derivatives of bags (D x sum N) and of the scores whose softmax is q0 (sum N; empty without scores).
template <BagScalar Scalar>
struct ClosedFormGradients {
    Matrix<Scalar> x;
    Vector<Scalar> scores;
};

/// y = sum_n q0_n x_n, or, if `takes_max`, y_d = max_n x_dn over the instances that are not excluded.
template <BagScalar Scalar>
class ClosedFormLayer {
public:
    ClosedFormLayer(bool takes_max, otpool::Execution execution)
        : takes_max_(takes_max), execution_(std::move(execution)) {}

    /// D x B. Throws InvalidArgument.
    Matrix<Scalar> forward(const otpool::Bags<Scalar>& bags) const {
        otpool::Pooling<Scalar, otpool::ClosedForm> pooling{.execution = execution_};
        pooling.parameters.alpha0 = takes_max_ ? Scalar(0) : Scalar(otpool::infinity);
        pooling.parameters.instances.alpha = takes_max_ ? Scalar(0) : Scalar(otpool::hard);
        return pooling(bags);
    }

    /// Given what forward() returned and dL/dy, D x B. Throws InvalidArgument.
    ClosedFormGradients<Scalar> backward(const otpool::Bags<Scalar>& bags, const Matrix<Scalar>& pooled,
                                         const MatrixView<Scalar>& dL_dpooled) const {
        otpool::detail::require_gradient_of(pooled, dL_dpooled);
        ClosedFormGradients<Scalar> gradients{Matrix<Scalar>(bags.features(), bags.total_size()), {}};
        gradients.scores = Vector<Scalar>::Zero(bags.total_size());
        execution_.for_each(bags.size(), [&](Index b, Index) {
            const otpool::Bag<Scalar> bag = bags[b];
            const Vector<Scalar> slope = dL_dpooled.matrix().col(b);
            auto of_bag = gradients.x.middleCols(bags.first_instance(b), bag.instances.cols());
            if (takes_max_) {
                of_max(bag, pooled.col(b), slope, of_bag);
            } else {
                of_mean(bag, pooled.col(b), slope, of_bag,
                        gradients.scores.segment(bags.first_instance(b), bag.instances.cols()));
            }
        });
        return gradients;
    }

private:
    using Columns = Eigen::Ref<Matrix<Scalar>>;
    using Numbers = Eigen::Ref<const Vector<Scalar>>;

    /// dL/dx_n = q_n v, dL/dscore_n = q_n <v, x_n - y>
    static void of_mean(const otpool::Bag<Scalar>& bag, const Numbers& y, const Vector<Scalar>& v, Columns x,
                        Eigen::Ref<Vector<Scalar>> scores) {
        const Index size = bag.instances.cols();
        if (bag.prior.size() == 0) {
            x.colwise() = v / static_cast<Scalar>(size);
            return;
        }
        x.noalias() = v * bag.prior.transpose();
        for (Index n = 0; n < size; ++n) {
            if (bag.prior[n] > 0) scores[n] = bag.prior[n] * v.dot(bag.instances.matrix().col(n) - y);
        }
    }

    /// The instances that attain the max share its derivative.
    static void of_max(const otpool::Bag<Scalar>& bag, const Numbers& y, const Vector<Scalar>& v, Columns x) {
        Vector<Scalar> winners = Vector<Scalar>::Zero(y.size());
        for (Index n = 0; n < x.cols(); ++n) {
            auto wins = x.col(n);
            wins.setZero();
            if (bag.prior.size() > 0 && bag.prior[n] == 0) continue;
            wins = (bag.instances.matrix().col(n).array() == y.array()).template cast<Scalar>();
            winners += wins;
        }
        x.array().colwise() *= v.array() / winners.array();
    }

    bool takes_max_;
    otpool::Execution execution_;
};

}  // namespace otpool_python
