#pragma once

#include <functional>
#include <optional>

#include "otpool/otpool.hpp"
#include "support/random_bags.hpp"

namespace tests {

/// A pooling of any kind: what is tested of each is compiled once, and each once, not one with the other.
template <class Scalar>
class AnyPooling {
public:
    template <class Pooling>
    explicit AnyPooling(const Pooling& pooling)
        : pool_([pooling](const otpool::Bag<Scalar>& bag) -> Vector<Scalar> { return pooling(bag); }),
          pool_batch_([pooling](const otpool::Bags<Scalar>& bags, std::optional<Scalar> empty) -> Matrix<Scalar> {
              Pooling filling = pooling;
              filling.empty_bag = empty;
              return filling(bags);
          }) {}

    std::optional<Scalar> empty_bag = {};

    Vector<Scalar> operator()(const otpool::Bag<Scalar>& bag) const { return pool_(bag); }
    Vector<Scalar> operator()(const otpool::MatrixView<Scalar>& instances) const {
        return pool_(otpool::Bag<Scalar>{instances});
    }
    Matrix<Scalar> operator()(const otpool::Bags<Scalar>& bags) const { return pool_batch_(bags, empty_bag); }

private:
    std::function<Vector<Scalar>(const otpool::Bag<Scalar>&)> pool_;
    std::function<Matrix<Scalar>(const otpool::Bags<Scalar>&, std::optional<Scalar>)> pool_batch_;
};

/// Calls visit(name, pooling) with every named pooling, and some that have no name, for bags of D features >= 0.
template <class Scalar>
void for_each_pooling(Random& random, Index D,
                      const std::function<void(const char* name, const AnyPooling<Scalar>& pooling)>& visit_any) {
    const auto visit = [&](const char* name, const auto& pooling) { visit_any(name, AnyPooling<Scalar>(pooling)); };
    const auto normal = [&] { return static_cast<Scalar>(random.normal()); };
    const Matrix<Scalar> V = Matrix<Scalar>::NullaryExpr(3, D, normal);
    const Matrix<Scalar> U = Matrix<Scalar>::NullaryExpr(3, D, normal);
    const Vector<Scalar> w = Vector<Scalar>::NullaryExpr(3, normal);
    const Vector<Scalar> gate = Vector<Scalar>::NullaryExpr(D, normal);

    visit("mean", otpool::mean_pooling<Scalar>());
    visit("sum", otpool::sum_pooling<Scalar>());
    visit("max", otpool::max_pooling<Scalar>());
    visit("min", otpool::min_pooling<Scalar>());
    visit("softmax", otpool::softmax_pooling<Scalar>(Scalar(0.5)));
    visit("log-sum-exp", otpool::log_sum_exp_pooling<Scalar>(Scalar(0.5)));
    visit("generalized mean", otpool::generalized_mean_pooling<Scalar>(3));
    visit("attention", otpool::attention_pooling<Scalar>(otpool::Attention<Scalar>{V, w}));
    visit("gated attention", otpool::gated_attention_pooling<Scalar>({V, U, w}));
    visit("mixed", otpool::mixed_pooling<Scalar>(Scalar(0.25)));
    visit("gated mean-max", otpool::gated_mean_max_pooling<Scalar>({.weights = gate, .bias = Scalar(0.5)}));
    visit("dynamic routing", otpool::dynamic_routing_pooling<Scalar>(3));

    otpool::PoolingParameters<Scalar> parameters{.alpha0 = Scalar(0.5)};
    parameters.features = {.alpha = 1, .prior = uneven_prior<Scalar>(random, D, false)};
    parameters.instances.alpha = 2;
    visit("Sinkhorn", otpool::Pooling<Scalar>{parameters});
    visit("Newton", otpool::Pooling<Scalar, otpool::Newton>{parameters});
    visit("BregmanAdmm, joint readout",
          otpool::Pooling<Scalar, otpool::BregmanAdmm, otpool::Entropy, otpool::JointReadout>{parameters});
    visit("relative entropy", otpool::Pooling<Scalar, otpool::Newton, otpool::RelativeEntropy>{parameters});
}

}  // namespace tests
