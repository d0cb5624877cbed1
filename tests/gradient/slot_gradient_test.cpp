#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "otpool/learning.hpp"
#include "support/backwards.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/sample.hpp"

// Gradients of poolings to slots, against central differences of rewards by their formulas and SlotPooling.

namespace slot_gradient_test {

using namespace otpool;
using tests::Backwards;
using tests::Random;
using tests::random_matrix;

constexpr double never = -std::numeric_limits<double>::infinity();

enum class Kind { given, dot, squared, distance, relative };

/// Every number of a pooling to slots.
struct Numbers {
    Matrix<double> x, w, S, centres;
    Vector<double> bias, log_p0, log_q0;
    double alpha0 = 1, alpha1 = 1, alpha2 = 1;
    Vector<double> alphas1 = {}, alphas2 = {};
    double scale = 1, m = 0.5, dummy_reward = 0;
    double largest = 1;  ///< The largest distance, a constant.

    static Vector<double> softmax(const Vector<double>& logs) {
        Vector<double> weights = logs;  // (Eigen's exp(-inf) is not 0)
        for (double& weight : weights) weight = std::exp(weight - logs.maxCoeff());
        return weights / weights.sum();
    }

    /// S by its formula, entry by entry.
    Matrix<double> reward(Kind kind) const {
        if (kind == Kind::given) return S;
        Matrix<double> found(w.cols(), x.cols());
        const auto lowest = [&](const Vector<double>& v) {
            return kind == Kind::distance || kind == Kind::relative ? v.minCoeff() : 0.0;
        };
        for (Index n = 0; n < x.cols(); ++n) {
            for (Index k = 0; k < w.cols(); ++k) {
                const Vector<double> a = w.col(k).array() - lowest(w.col(k));
                const Vector<double> b = x.col(n).array() - lowest(x.col(n));
                if (kind == Kind::dot) found(k, n) = a.dot(b) + bias[k];
                if (kind == Kind::squared) found(k, n) = -(a - b).squaredNorm();
                if (kind == Kind::distance) found(k, n) = -(a - b).norm() / largest;
                if (kind == Kind::relative) found(k, n) = -(a - b).squaredNorm() / largest;
            }
        }
        return found;
    }

    template <class Pooling>
    void set(Pooling& pooling) const {
        auto& [alpha, features, instances, mass] = pooling.parameters;
        alpha = alpha0;
        features.alpha = alpha1;
        features.prior = softmax(log_p0);
        features.alphas = alphas1;
        instances.alpha = alpha2;
        instances.alphas = alphas2;
        set_readout(pooling.readout);
        if constexpr (requires { pooling.dummy.m; }) pooling.dummy.m = m;
        pooling.dummy.reward = dummy_reward;
    }

private:
    template <class Readout>
    void set_readout(Readout& readout) const {
        if constexpr (requires { readout.centres; }) {
            readout.centres = centres;
            set_readout(readout.readout);
        }
        if constexpr (requires { readout.scale; }) readout.scale = scale;
    }
};

template <class Reward>
std::pair<Reward, Kind> reward_of(const Numbers& at, int power) {
    if constexpr (std::same_as<Reward, GivenReward>) return {{}, Kind::given};
    if constexpr (std::same_as<Reward, DotProduct<double>>) return {{at.w, at.bias}, Kind::dot};
    if constexpr (std::same_as<Reward, SquaredDistance<double>>) return {{at.w}, Kind::squared};
    if constexpr (std::same_as<Reward, RelativeDistance<double>>)
        return {{at.w, power}, power == 1 ? Kind::distance : Kind::relative};
}

Numbers draw(Random& random, bool own_alphas, Index least_instances = 1) {
    const auto alpha = [&]() -> double {
        if (random.chance(0.25)) return hard;
        if (random.chance(0.25)) return 0;
        return random.log_uniform(0.2, 20);
    };
    Numbers drawn;
    const Index D = random.integer(1, 5);
    const Index K = random.integer(1, 4);
    const Index N = std::max(random.integer(1, 7), least_instances);
    drawn.x = random_matrix<double>(random, D, N);
    drawn.w = random_matrix<double>(random, D, K);
    drawn.S = random_matrix<double>(random, K, N);
    drawn.centres = random_matrix<double>(random, D, K);
    drawn.bias = random_matrix<double>(random, K, 1).col(0);
    drawn.log_p0 = 0.5 * random_matrix<double>(random, K, 1).col(0);
    drawn.log_q0 = 0.5 * random_matrix<double>(random, N, 1).col(0);
    if (N > 3 && random.chance(0.3)) drawn.log_q0[random.integer(0, N - 1)] = never;
    drawn.alpha0 = random.log_uniform(0.3, 3);
    drawn.alpha1 = alpha();
    drawn.alpha2 = alpha();
    const auto draw_alphas = [&](Vector<double>& alphas, Index size) {
        alphas.resize(size);
        for (double& each : alphas) each = alpha();
    };
    if (own_alphas) draw_alphas(drawn.alphas1, K);
    if (own_alphas && random.chance(0.5)) draw_alphas(drawn.alphas2, N);
    drawn.scale = random.uniform(0.5, 2);
    drawn.m = random.uniform(0.2, 0.9);
    drawn.dummy_reward = random.normal();
    return drawn;
}

/// The largest difference of each kind of number, relative to the largest derivative of the kind, or to a thousandth of the
/// largest of all.
struct Comparison {
    double largest = 0;
    double error = 0;
    std::string text = {};
    int kinks = 0;

    void compare(const char* name, auto&& values, const auto& derivatives, const auto& number, bool relative = false) {
        REQUIRE(values.size() == derivatives.size());
        double difference = 0;
        double scale = 0;
        for (Index i = 0; i < values.size(); ++i) {
            double& value = values.reshaped()[i];
            if (!std::isfinite(value) || (relative && value == 0)) continue;
            const auto found = tests::Difference::of(value, relative ? value : 1, largest, number);
            if (found.has_kink(largest)) {
                ++kinks;
                continue;
            }
            difference =
                std::max(difference, std::abs(found.derivative - static_cast<double>(derivatives.reshaped()[i])));
            scale = std::max(scale, std::abs(found.derivative));
            largest = std::max(largest, scale);
        }
        const double off = difference / std::max({scale, 1e-3 * largest, 1e-12});
        error = std::max(error, off);
        text += std::string(name) + " " + std::to_string(off * 1e9) + "e-9, ";
    }
    void compare(const char* name, double& value, double derivative, const auto& number, bool relative = false) {
        compare(name, Eigen::Map<Vector<double>>(&value, 1), Vector<double>{{derivative}}, number, relative);
    }
};

/// Compares the gradient of a random combination of what is pooled.
template <class R, class Reward, class Readout, class Dummy, class Mode>
Comparison check(Random& random, Numbers at, const Mode& mode, int power = 2) {
    const auto [reward, kind] = reward_of<Reward>(at, power);
    if (kind == Kind::distance || kind == Kind::relative) {
        Matrix<double> distances = at.reward(kind);
        for (Index n = 0; n < at.x.cols(); ++n) {
            if (at.log_q0[n] == never) distances.col(n).setZero();
        }
        at.largest = std::max(-distances.minCoeff(), 1e-300);  // of one feature there are no distances
    }
    const Matrix<double> G = random_matrix<double>(random, at.x.rows(), at.w.cols());
    SlotPooling<double, GivenReward, decltype(mode.solver), Readout, Dummy, R> direct;
    direct.solver = mode.solver;
    const auto number = [&, kind = kind] {
        at.set(direct);
        const Matrix<double> S = at.reward(kind);
        return direct(Bag<double>{.instances = at.x, .reward = S, .prior = Numbers::softmax(at.log_q0)})
            .cwiseProduct(G)
            .sum();
    };
    DifferentiableSlotPooling<double, Reward, Mode, Readout, Dummy, R> pooling;
    pooling.reward = reward;
    pooling.mode = mode;
    at.set(pooling);
    const std::vector<std::int64_t> offsets{0, at.x.cols()};
    const Vector<double> q0 = Numbers::softmax(at.log_q0);
    const auto bags = kind == Kind::given ? Bags<double>(at.x, offsets, at.S, q0) : Bags<double>(at.x, offsets, {}, q0);
    const auto forward = pooling.forward(bags);
    CHECK(forward.pooled.col(0).dot(G.reshaped()) == Catch::Approx(number()).epsilon(1e-9).margin(1e-9));
    const SlotGradient<double> gradient = pooling.backward(forward, Matrix<double>(G.reshaped()));

    Comparison found;
    found.compare("x", at.x, gradient.instances, number);
    if (kind == Kind::given) found.compare("S", at.S, gradient.problem.reward, number);
    if (kind != Kind::given) found.compare("w", at.w, gradient.prototypes, number);
    if (kind == Kind::dot) found.compare("bias", at.bias, gradient.bias, number);
    found.compare("log p0", at.log_p0, gradient.problem.log_p0, number);
    found.compare("log q0", at.log_q0, gradient.problem.log_q0, number);
    found.compare("alpha0", at.alpha0, gradient.problem.alpha0[0], number, true);
    found.compare("alpha1", at.alpha1, gradient.problem.alpha1[0], number, true);
    found.compare("alpha2", at.alpha2, gradient.problem.alpha2[0], number, true);
    found.compare("alphas1", at.alphas1, gradient.problem.alphas1, number, true);
    found.compare("alphas2", at.alphas2, gradient.problem.alphas2, number, true);
    if (gradient.centres.size() > 0) found.compare("centres", at.centres, gradient.centres, number);
    found.compare("scale", at.scale, gradient.scale, number);
    found.compare("dummy m", at.m, gradient.dummy_m, number);
    found.compare("dummy reward", at.dummy_reward, gradient.dummy_reward, number);
    return found;
}

const Implicit<Newton> by_newton{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};

/// `count` random problems, every other one with an alpha each. Returns the number of kinks.
template <class R, class Reward, class Readout, class Dummy = NoDummySlot>
int check_each(std::uint64_t count, int power = 2) {
    int kinks = 0;
    for (std::uint64_t seed = 0; seed < count; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        const Numbers at = draw(random, seed % 2 == 0, std::same_as<Dummy, Dustbin> ? 6 : 1);
        INFO("seed " << seed << ", D " << at.x.rows() << ", K " << at.w.cols() << ", N " << at.x.cols() << ", alphas "
                     << at.alpha0 << ' ' << at.alpha1 << ' ' << at.alpha2 << ", " << at.alphas1.transpose() << ", "
                     << at.alphas2.transpose());
        const Comparison found = check<R, Reward, Readout, Dummy>(random, at, by_newton, power);
        INFO(found.text);
        CHECK(found.error < 1e-6);
        kinks += found.kinks;
    }
    return kinks;
}

TEST_CASE("Implicit gradients of slots are derivatives - Entropy") {
    CHECK(check_each<Entropy, GivenReward, ConditionalSlots>(50) == 0);
    CHECK(check_each<Entropy, DotProduct<double>, JointSlots>(50) == 0);
    CHECK(check_each<Entropy, SquaredDistance<double>, ResidualSlots<ConditionalSlots>, PartialSlots>(50) == 0);
    CHECK(check_each<Entropy, RelativeDistance<double>, ResidualSlots<JointSlots>, PartialSlots>(50) <= 2);
    CHECK(check_each<Entropy, RelativeDistance<double>, ResidualSlots<JointSlots>, PartialSlots>(50, 1) <= 2);
    CHECK(check_each<Entropy, DotProduct<double>, ConditionalSlots, Dustbin>(50) == 0);
}

TEST_CASE("Implicit gradients of slots are derivatives - RelativeEntropy") {
    CHECK(check_each<RelativeEntropy, SquaredDistance<double>, ConditionalSlots>(50) == 0);
    CHECK(check_each<RelativeEntropy, GivenReward, ResidualSlots<JointSlots>, Dustbin>(50) == 0);
}

TEST_CASE("Implicit gradients of slots are derivatives - Quadratic") {
    CHECK(check_each<Quadratic, GivenReward, ResidualSlots<JointSlots>, PartialSlots>(100) < 100);
    CHECK(check_each<Quadratic, SquaredDistance<double>, ConditionalSlots>(100) < 100);
}

TEST_CASE("Unrolled gradients of slots are the derivatives of Sinkhorn's steps") {
    const Unrolled<Sinkhorn> steps{.solver = {.options = {.iterations = 4, .closed_forms = false}}};
    int kinks = 0;
    for (std::uint64_t seed = 0; seed < 80; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        const Numbers at = draw(random, false);
        INFO("seed " << seed << ", alphas " << at.alpha0 << ' ' << at.alpha1 << ' ' << at.alpha2);
        const Comparison found =
            seed % 2 == 0 ? check<Entropy, SquaredDistance<double>, ConditionalSlots, NoDummySlot>(random, at, steps)
                          : check<RelativeEntropy, DotProduct<double>, JointSlots, NoDummySlot>(random, at, steps);
        INFO(found.text);
        CHECK(found.error < 1e-6);
        kinks += found.kinks;
    }
    CHECK(kinks == 0);
}

TEST_CASE("Unrolled gradients of slots are the derivatives of BregmanAdmm's steps") {
    const Unrolled<BregmanAdmm> steps{.solver = {{.iterations = 4, .closed_forms = false}, 2.0}};
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        Random random(seed);
        const Numbers at = draw(random, false);
        const Comparison found =
            check<Entropy, SquaredDistance<double>, ResidualSlots<JointSlots>, NoDummySlot>(random, at, steps);
        INFO("seed " << seed << ": " << found.text);
        CHECK(found.error < 1e-6);
    }
}

TEST_CASE("gradients of slots follow a vertex") {
    const Implicit<ActiveSet> mode{.solver = {{.tolerance = 1e-11}}};
    int kinks = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        Random random(seed);
        Numbers at = draw(random, false);
        at.alpha0 = 0;
        for (double* alpha : {&at.alpha1, &at.alpha2}) *alpha = std::max(*alpha, 0.5);
        const Comparison found =
            seed % 2 == 0 ? check<Entropy, SquaredDistance<double>, ResidualSlots<ConditionalSlots>, NoDummySlot>(
                                random, at, mode)
                          : check<Entropy, GivenReward, JointSlots, NoDummySlot>(random, at, mode);
        INFO("seed " << seed << ": " << found.text);
        CHECK(found.error < 1e-6);
        kinks += found.kinks;
    }
    CHECK(kinks < 60);
}

template <class Scalar>
auto soft_slots(const Matrix<Scalar>& w) {
    DifferentiableSlotPooling<Scalar, SquaredDistance<Scalar>, Implicit<Sinkhorn>, ResidualSlots<JointSlots>,
                              PartialSlots>
        pooling;
    pooling.reward.prototypes = w;
    pooling.parameters = {.alpha0 = 2, .features = {.alpha = 1}, .instances = {.alpha = hard}};
    pooling.mode.solver.options.tolerance = 1e-11;
    pooling.readout.centres = w.template cast<Real>();
    pooling.readout.readout = {.scale = 2, .times_instances = true};
    pooling.dummy = {.m = 0.7, .reward = -3};
    return pooling;
}

TEST_CASE("the gradient of slots has that of a fixed mass, summed over the bags") {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        Random random(seed);
        const Matrix<double> x = random_matrix<double>(random, 3, 11);
        const Bags<double> bags(x, std::vector<std::int64_t>{0, 4, 11});
        const Matrix<double> G = random_matrix<double>(random, 6, 2);
        DifferentiableSlotPooling<double, SquaredDistance<double>, Implicit<Newton>, JointSlots> pooling;
        pooling.reward.prototypes = random_matrix<double>(random, 3, 2);
        pooling.parameters.alpha0 = random.log_uniform(0.5, 2);
        pooling.parameters.features = {.alpha = random.log_uniform(0.3, 3)};
        pooling.parameters.instances = {.alpha = random.log_uniform(0.3, 3)};
        pooling.mode.solver.options.tolerance = 1e-12;
        const auto loss = [&](double mass) {
            pooling.parameters.mass = mass;
            return pooling.forward(bags).pooled.cwiseProduct(G).sum();
        };
        const double m = random.log_uniform(0.2, 3);
        const double step = 1e-5 * m;
        const double expected = (loss(m + step) - loss(m - step)) / (2 * step);
        pooling.parameters.mass = m;
        const double found = pooling.backward(pooling.forward(bags), G).problem.mass;
        INFO("seed " << seed << ", " << found << " for " << expected);
        CHECK(std::abs(found - expected) < 1e-6 * (0.1 + std::abs(expected)));
    }
}

TEST_CASE("a batch's gradient of slots is that of its bags, with the same bits in any order and by indices") {
    Random random(4);
    const Matrix<double> x = random_matrix<double>(random, 5, 300);
    auto pooling = soft_slots(random_matrix<double>(random, 5, 3));
    const std::vector<std::int64_t> offsets{0, 4, 5, 60, 300};
    const Bags<double> bags(x, offsets);
    const Matrix<double> G = random_matrix<double>(random, 15, 4);
    const auto gradient = pooling.backward(pooling.forward(bags), G);
    Matrix<double> prototypes = Matrix<double>::Zero(5, 3);
    Real m = 0;
    for (Index b = 0; b < 4; ++b) {
        const Matrix<double> bag = x.middleCols(bags.first_instance(b), bags.bag_size(b));
        const auto of_bag =
            pooling.backward(pooling.forward(Bags<double>(bag, std::vector<std::int64_t>{0, bag.cols()})), G.col(b));
        CHECK(gradient.instances.middleCols(bags.first_instance(b), bag.cols()) == of_bag.instances);
        CHECK(gradient.problem.reward.middleCols(bags.first_instance(b), bag.cols()) == of_bag.problem.reward);
        CHECK(gradient.problem.log_q0.segment(bags.first_instance(b), bag.cols()) == of_bag.problem.log_q0);
        prototypes += of_bag.prototypes;
        m += of_bag.dummy_m;
    }
    CHECK(gradient.prototypes == prototypes);
    CHECK(gradient.dummy_m == m);
    const auto check_same = [&](const SlotGradient<double>& other) {
        CHECK(other.instances == gradient.instances);
        CHECK(other.prototypes == gradient.prototypes);
        CHECK(other.centres == gradient.centres);
        CHECK(other.problem.reward == gradient.problem.reward);
        CHECK(other.problem.log_p0 == gradient.problem.log_p0);
        CHECK(other.problem.alpha1 == gradient.problem.alpha1);
        CHECK(other.scale == gradient.scale);
        CHECK(other.dummy_m == gradient.dummy_m);
        CHECK(other.dummy_reward == gradient.dummy_reward);
    };
    std::vector<std::int64_t> indices(300);
    for (std::size_t i = 0; i < 300; ++i) indices[i] = static_cast<std::int64_t>(i);
    check_same(pooling.backward(pooling.forward(Bags<double>::of_indices(x, indices, offsets)), G));
    pooling.execution = Backwards{};
    const auto forward = pooling.forward(bags);
    check_same(pooling.backward(forward, G));
    CHECK(forward.pooled == pooling.without_tapes()(bags));
    const Matrix<double> nothing(5, 0);
    const auto empty =
        pooling.backward(pooling.forward(Bags<double>(nothing, std::vector<std::int64_t>{0})), Matrix<double>(15, 0));
    CHECK(empty.instances.cols() == 0);
    CHECK(empty.problem.log_p0.size() + empty.prototypes.size() >= 0);
}

TEST_CASE("an excluded instance may hold anything, and has no gradient of slots") {
    Random random(5);
    Matrix<double> x = random_matrix<double>(random, 4, 9);
    x.col(2).setConstant(std::numeric_limits<double>::quiet_NaN());
    Vector<double> q0 = Vector<double>::Constant(9, 1.0 / 8);
    q0[2] = 0;
    Matrix<double> others(4, 8);
    others << x.leftCols(2), x.rightCols(6);
    const Matrix<double> G = random_matrix<double>(random, 12, 1);
    const auto check = [&](const auto& pooling) {
        const auto found =
            pooling.backward(pooling.forward(Bags<double>(x, std::vector<std::int64_t>{0, 9}, {}, q0)), G);
        const auto expected =
            pooling.backward(pooling.forward(Bags<double>(others, std::vector<std::int64_t>{0, 8})), G);
        CHECK(found.instances.col(2).isZero(0));
        CHECK(found.problem.reward.col(2).isZero(0));
        CHECK(found.problem.log_q0[2] == 0);
        CHECK((found.instances.rightCols(6) - expected.instances.rightCols(6)).cwiseAbs().maxCoeff() < 1e-12);
        CHECK((found.prototypes - expected.prototypes).cwiseAbs().maxCoeff() < 1e-12);
    };
    const Matrix<double> w = random_matrix<double>(random, 4, 3);
    check(soft_slots(w));
    DifferentiableSlotPooling<double, RelativeDistance<double>, Implicit<Newton>> relative{.reward = {w, 1}};
    relative.parameters.instances.alpha = 2;
    check(relative);
    DifferentiableSlotPooling<double, DotProduct<double>, Unrolled<Sinkhorn>, JointSlots> dot{.reward = {w}};
    dot.parameters.instances.alpha = 2;
    dot.mode.solver.options.iterations = 3;
    check(dot);
}

TEST_CASE("a gradient of slots in float is the one in double, also far from the origin") {
    for (const float far : {0.0f, 100.0f}) {
        Random random(6);
        const Matrix<float> x = random_matrix<float>(random, 6, 500).array() + far;
        const Matrix<float> w = random_matrix<float>(random, 6, 4).array() + far;
        const Matrix<float> G = random_matrix<float>(random, 24, 2);
        const std::vector<std::int64_t> offsets{0, 100, 500};
        const auto narrow_pooling = soft_slots(w);
        const Matrix<double> wide_x = x.cast<double>();
        const auto wide_pooling = soft_slots(Matrix<double>(w.cast<double>()));
        const auto narrow = narrow_pooling.backward(narrow_pooling.forward(Bags<float>(x, offsets)), G);
        const auto wide = wide_pooling.backward(wide_pooling.forward(Bags<double>(wide_x, offsets)),
                                                Matrix<double>(G.cast<double>()));
        const auto off = [](const auto& a, const auto& b) {
            return (a.template cast<double>() - b).cwiseAbs().maxCoeff() / b.cwiseAbs().maxCoeff();
        };
        INFO("far " << far);
        CHECK(off(narrow.instances, wide.instances) < 2e-5);
        CHECK(off(narrow.prototypes, wide.prototypes) < 2e-5);
        CHECK(off(narrow.problem.reward, wide.problem.reward) < 2e-5);
        CHECK(off(narrow.problem.log_p0, wide.problem.log_p0) < 2e-5);
        CHECK(off(narrow.problem.log_q0, wide.problem.log_q0) < 2e-5);
        CHECK(off(narrow.centres, wide.centres) < 2e-5);
        CHECK(std::abs(narrow.dummy_m - wide.dummy_m) < 2e-5 * std::abs(wide.dummy_m));
    }
}

TEST_CASE("backward of slots refuses other shapes and what has not converged") {
    Random random(7);
    const Matrix<double> x = random_matrix<double>(random, 5, 30);
    auto pooling = soft_slots(random_matrix<double>(random, 5, 3));
    const Bags<double> bags(x, std::vector<std::int64_t>{0, 30});
    const auto forward = pooling.forward(bags);
    CHECK(tests::message_of<InvalidArgument>([&] { pooling.backward(forward, Matrix<double>(5, 1)); }) ==
          "shape of dL/dpooled is 5 x 1; allowed: 15 x 1, the shape of what was pooled");
    pooling.mode.solver.options.iterations = 1;
    const auto unfinished = pooling.forward(bags);
    CHECK(tests::message_of<InvalidArgument>([&] { pooling.backward(unfinished, Matrix<double>::Ones(15, 1)); }) ==
          "status of the solution is iteration_limit; allowed: converged, or any with accept_unconverged");
}

}  // namespace slot_gradient_test
