#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Gradients of slots are numbers for every input.

namespace slot_extremes_test {

using namespace otpool;
using tests::Random;

template <class Scalar>
bool is_finite(const SlotGradient<Scalar>& gradient) {
    const ProblemGradient<Scalar>& of = gradient.problem;
    return gradient.instances.allFinite() && gradient.centres.allFinite() && std::isfinite(gradient.scale) &&
           std::isfinite(gradient.dummy_reward) && std::isfinite(gradient.dummy_m) && of.reward.allFinite() &&
           of.alpha0.allFinite() && of.alpha1.allFinite() && of.alpha2.allFinite() && of.alphas2.allFinite() &&
           of.log_p0.allFinite() && of.log_q0.allFinite();
}

/// Rewards and instances of many sizes, and alphas from weak to hard, each alone.
template <class Scalar>
void check(const std::vector<double>& sizes) {
    using Pooling =
        DifferentiableSlotPooling<Scalar, GivenReward, Implicit<Sinkhorn>, ResidualSlots<JointSlots>, PartialSlots>;
    int number = 0;
    for (const double size : sizes) {
        for (const double of_reward : sizes) {
            for (const double alpha0 : {1e-6, 1.0, 1e6}) {
                Random random(static_cast<std::uint64_t>(number));
                const Index N = number % 4 == 0 ? 1 : 5;
                const Index K = number % 3 == 0 ? 1 : 3;
                Matrix<Scalar> x(2, N);
                Matrix<Scalar> S(K, N);
                for (Scalar& entry : x.reshaped()) entry = static_cast<Scalar>(size * random.normal());
                for (Scalar& entry : S.reshaped()) entry = static_cast<Scalar>(of_reward * random.normal());
                Pooling pooling;
                pooling.mode.accept_unconverged = true;
                pooling.mode.solver.options.max_iterations = 200;
                pooling.parameters.alpha0 = static_cast<Scalar>(alpha0);
                pooling.parameters.features.alpha = static_cast<Scalar>(number % 5 == 0 ? 1e-3 : 1);
                pooling.parameters.instances.alphas = Vector<Scalar>::Constant(N, Scalar(hard));
                pooling.parameters.instances.alphas[0] = static_cast<Scalar>(number % 2);
                pooling.readout.centres = RealMatrix::Ones(2, K);
                const Bags<Scalar> bags(x, std::vector<std::int64_t>{0, N}, S);
                const auto forward = pooling.forward(bags);
                INFO("size " << size << ", of rewards " << of_reward << ", alpha0 " << alpha0 << ", N " << N << ", K "
                             << K);
                CHECK(forward.pooled.allFinite());
                CHECK(is_finite(pooling.backward(forward, Matrix<Scalar>::Ones(2 * K, 1))));
                ++number;
            }
        }
    }
}

TEST_CASE("gradients of slots are finite for rewards and instances of any size") {
    check<double>({0, 1e-300, 1e-9, 1, 1e9, 1e300});
    check<float>({0, 1e-37, 1e-9, 1, 1e9, 1e37});
}

}  // namespace slot_extremes_test
