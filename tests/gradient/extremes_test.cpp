#include <cmath>
#include <limits>
#include <utility>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/pooled_only.hpp"
#include "support/random_bags.hpp"

// Finite in, finite out: gradients over the limits of alphas and rewards, in both scalars.

namespace gradient_extremes_test {

using namespace otpool;

template <class Scalar>
bool is_finite(const ProblemGradient<Scalar>& gradient) {
    return gradient.reward.allFinite() && gradient.log_p0.allFinite() && gradient.log_q0.allFinite() &&
           gradient.alpha0.allFinite() && gradient.alpha1.allFinite() && gradient.alpha2.allFinite() &&
           gradient.rho.allFinite();
}

template <class R, class Scalar, class Mode, class Readout>
void check(const Mode& mode, const Readout& readout, const UotProblem<Scalar>& entropic) {
    const UotProblem<Scalar, R> problem{.reward = entropic.reward,
                                        .alpha0 = entropic.alpha0,
                                        .features = entropic.features,
                                        .instances = entropic.instances};
    try {
        const auto tape = mode.solve(problem);
        const Vector<Scalar> dL_dy = Vector<Scalar>::Ones(problem.reward.rows());
        CHECK(is_finite(mode.backward(readout, tape, dL_dy)));
    } catch (const UnsupportedProblem&) {  // alpha0 = 0 for Sinkhorn and Newton
    }
}

TEMPLATE_TEST_CASE("Gradients are finite at the extremes", "", float, double) {
    using Scalar = TestType;
    tests::Random random(1);
    const double limits[] = {0, 1e-6, 1, 1e6, infinity};
    for (const double scale : {1e-30, 1.0, 1e30}) {
        for (const auto& [D, N] : {std::pair<Index, Index>{1, 1}, {1, 4}, {4, 1}, {3, 5}}) {
            Matrix<Scalar> bag(D, N);
            for (Scalar& entry : bag.reshaped()) entry = static_cast<Scalar>(scale * random.normal());
            for (const double alpha0 : limits) {
                for (const double alpha1 : limits) {
                    for (const double alpha2 : limits) {
                        INFO("scale " << scale << ", " << D << " x " << N << ", alphas " << alpha0 << ' ' << alpha1
                                      << ' ' << alpha2);
                        const UotProblem<Scalar> problem{.reward = bag,
                                                         .alpha0 = static_cast<Scalar>(alpha0),
                                                         .features = {static_cast<Scalar>(alpha1)},
                                                         .instances = {static_cast<Scalar>(alpha2)}};
                        const double rho = std::min(1e30, scale + (std::isinf(alpha0) ? 1 : alpha0));
                        const Implicit<Newton> implicit{.accept_unconverged = true};
                        const Unrolled<Sinkhorn> sinkhorn{{{.iterations = 3}}};
                        const Unrolled<BregmanAdmm> admm{{{.iterations = 3}, rho}};
                        check<Entropy>(implicit, ConditionalReadout{}, problem);
                        check<RelativeEntropy>(implicit, JointReadout{}, problem);
                        check<Entropy>(sinkhorn, ConditionalReadout{}, problem);
                        check<RelativeEntropy>(sinkhorn, JointReadout{}, problem);
                        check<Entropy>(admm, JointReadout{}, problem);
                        check<Quadratic>(admm, ConditionalReadout{}, problem);
                        check<Entropy>(tests::PooledOnly{admm}, ConditionalReadout{}, problem);
                        check<RelativeEntropy>(tests::PooledOnly{admm}, ConditionalReadout{}, problem);
                    }
                }
            }
        }
    }
}

TEST_CASE("A plan of any mass has the gradient of its shape") {
    // The conditional readout does not see the mass: shifted rewards have the same gradient, whatever that does to it.
    tests::Random random(2);
    Matrix<double> bag(3, 5);
    for (double& entry : bag.reshaped()) entry = random.normal();
    const auto gradient = [&](double shift) {
        const Matrix<double> shifted = bag.array() + shift;
        const UotProblem<double> problem{
            .reward = shifted, .alpha0 = 0.5, .features = {.alpha = 0.1}, .instances = {.alpha = 0.2}};
        const Implicit<Newton> mode{.solver = {{.tolerance = 1e-12}}, .accept_unconverged = true};
        return mode.backward(ConditionalReadout{}, mode.solve(problem), Vector<double>{{1, -2, 3}}).reward;
    };
    const Matrix<double> expected = gradient(0);
    for (const double shift : {-4096.0, -512.0, 512.0, 4096.0}) {  // log mass up to 5000
        CHECK((gradient(shift) - expected).cwiseAbs().maxCoeff() < 1e-8 * expected.cwiseAbs().maxCoeff());
    }
}

}  // namespace gradient_extremes_test
