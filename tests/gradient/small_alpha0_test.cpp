#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/double_double.hpp"
#include "support/pooled_only.hpp"
#include "support/random_bags.hpp"

// Gradients of Sinkhorn's steps at alpha0 down to 1e-15 of the reward's spread, against forward derivatives of the
// update formulas in numbers of 32 digits.

namespace small_alpha0_test {

using namespace otpool;
using tests::DoubleDouble;
using tests::Random;

/// A number and its derivatives with respect to up to 44 parameters.
struct Dual {
    DoubleDouble value;
    std::array<DoubleDouble, 44> of{};

    Dual(DoubleDouble number = 0.0) : value(number) {}  // NOLINT(google-explicit-constructor): as a number

    /// scale times the derivatives, of a number with this value.
    Dual mapped(DoubleDouble to, DoubleDouble scale) const {
        Dual result(to);
        for (std::size_t i = 0; i < of.size(); ++i) result.of[i] = scale * of[i];
        return result;
    }
    friend Dual operator+(Dual a, const Dual& b) {
        a.value = a.value + b.value;
        for (std::size_t i = 0; i < a.of.size(); ++i) a.of[i] = a.of[i] + b.of[i];
        return a;
    }
    friend Dual operator-(const Dual& a, const Dual& b) { return a + b.mapped(-b.value, -1.0); }
    friend Dual operator*(const Dual& a, const Dual& b) {
        Dual product = a.mapped(a.value * b.value, b.value);
        return product + b.mapped(0.0, a.value);
    }
    friend Dual operator/(const Dual& a, const Dual& b) {
        return a * b.mapped(DoubleDouble(1) / b.value, -DoubleDouble(1) / (b.value * b.value));
    }
};

using Duals = std::vector<Dual>;

/// log sum_i exp(x_i) and the weights exp(x_i) / sum. Both keep the digits of differences.
Dual log_sum(const Duals& x, Duals& weights) {
    std::size_t top = 0;
    for (std::size_t i = 1; i < x.size(); ++i) top = x[top].value < x[i].value ? i : top;
    weights.clear();
    Dual sum;
    for (const Dual& each : x) {
        const Dual below = each - x[top];
        const DoubleDouble weight = exp(below.value);
        weights.push_back(below.mapped(weight, weight));
        sum = sum + weights.back();
    }
    for (Dual& weight : weights) weight = weight / sum;
    return x[top] + sum.mapped(log(sum.value), DoubleDouble(1) / sum.value);
}

struct Case {
    Matrix<double> reward;
    Vector<double> log_p, log_q, dL_dy;
    std::vector<StepParameters> steps;  ///< One of all `count` steps, or one each.
    int count;
};

/// dL/dX times the spread, dL/dlog p0, dL/dlog q0, and those with respect to the logarithms of the alphas of every step.
template <class R>
std::vector<double> expected(const Case& at, double spread) {
    const auto rows = static_cast<std::size_t>(at.reward.rows());
    const auto cols = static_cast<std::size_t>(at.reward.cols());
    std::size_t count = 0;
    const auto parameter = [&](double value, double unit = 1) {
        Dual number{DoubleDouble(value)};
        number.of[count++] = std::isfinite(unit) ? unit : 0.0;
        return number;
    };
    std::vector<Duals> x(rows, Duals(cols));
    for (std::size_t n = 0; n < cols; ++n) {
        for (std::size_t d = 0; d < rows; ++d) {
            x[d][n] = parameter(at.reward(static_cast<Index>(d), static_cast<Index>(n)));
        }
    }
    Duals weights;
    const auto prior = [&](const Vector<double>& logarithms) {
        Duals log_prior;
        for (const double logarithm : logarithms) log_prior.push_back(parameter(logarithm));
        const Dual sum = log_sum(log_prior, weights);
        for (Dual& each : log_prior) each = each - sum;
        return log_prior;
    };
    const Duals p = prior(at.log_p);
    const Duals q = prior(at.log_q);
    std::vector<Duals> alphas;
    for (auto alpha : {&StepParameters::alpha0, &StepParameters::alpha1, &StepParameters::alpha2}) {
        alphas.emplace_back();
        for (const StepParameters& step : at.steps) alphas.back().push_back(parameter(step.*alpha, step.*alpha));
    }
    Duals g(cols), y;  // g in the reward's unit
    Dual alpha0;
    const auto exponents = [&](std::size_t first, std::size_t d_step, std::size_t size, const Duals& potential) {
        y.clear();
        for (std::size_t i = 0; i < size; ++i) {
            const std::size_t d = d_step == 1 ? i : first;
            const std::size_t n = d_step == 1 ? first : i;
            y.push_back((x[d][n] + potential[i]) / alpha0);
            if constexpr (std::same_as<R, RelativeEntropy>) y.back() = y.back() + p[d] + q[n];
        }
    };
    const auto half_step = [&](const Dual& alpha, const Dual& log_prior) {
        const Dual moved = alpha0 * (log_prior - log_sum(y, weights));
        return std::isinf(alpha.value.high) ? moved : moved * alpha / (alpha + alpha0);
    };
    for (int k = 0; k < at.count; ++k) {
        const std::size_t set = at.steps.size() == 1 ? 0 : static_cast<std::size_t>(k);
        alpha0 = alphas[0][set];
        Duals f(rows);
        for (std::size_t d = 0; d < rows; ++d) {
            exponents(d, 0, cols, g);
            f[d] = half_step(alphas[1][set], p[d]);
        }
        for (std::size_t n = 0; n < cols; ++n) {
            exponents(n, 1, rows, f);
            g[n] = half_step(alphas[2][set], q[n]);
        }
    }
    Dual loss;
    for (std::size_t d = 0; d < rows; ++d) {
        exponents(d, 0, cols, g);
        log_sum(y, weights);
        for (std::size_t n = 0; n < cols; ++n) {
            loss = loss + weights[n] * (x[d][n] - x[d][0]) * Dual(at.dL_dy[static_cast<Index>(d)]);
        }
        loss = loss + x[d][0] * Dual(at.dL_dy[static_cast<Index>(d)]);
    }
    std::vector<double> derivatives;
    for (std::size_t i = 0; i < count; ++i) {
        derivatives.push_back(static_cast<double>(loss.of[i]) * (i < rows * cols ? spread : 1));
    }
    return derivatives;
}

/// The same numbers from a gradient.
template <class Scalar>
std::vector<double> in_order(const Case& at, double spread, const ProblemGradient<Scalar>& gradient) {
    std::vector<double> numbers;
    for (const Scalar each : gradient.reward.reshaped()) numbers.push_back(static_cast<double>(each) * spread);
    for (const auto* log_prior : {&gradient.log_p0, &gradient.log_q0}) {
        for (const Scalar each : *log_prior) numbers.push_back(static_cast<double>(each));
    }
    const auto push = [&](double StepParameters::*alpha, const auto& derivatives) {
        for (std::size_t k = 0; k < at.steps.size(); ++k) {
            const double value = at.steps[k].*alpha;
            numbers.push_back(std::isinf(value) ? 0 : derivatives[static_cast<Index>(k)] * value);
        }
    };
    push(&StepParameters::alpha0, gradient.alpha0);
    push(&StepParameters::alpha1, gradient.alpha1);
    push(&StepParameters::alpha2, gradient.alpha2);
    return numbers;
}

/// The largest difference, relative to the largest number.
double error(const std::vector<double>& found, const std::vector<double>& wanted) {
    REQUIRE(found.size() == wanted.size());
    double largest = 0;
    double difference = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        largest = std::max(largest, std::abs(wanted[i]));
        difference = std::max(difference, std::isnan(found[i]) ? infinity : std::abs(found[i] - wanted[i]));
    }
    return difference / largest;
}

template <class Scalar>
Case random_case(Random& random, double ratio, bool per_step, double& spread) {
    const Index D = random.integer(2, 3);
    const Index N = random.integer(2, 4);
    Case at{Matrix<double>(D, N), Vector<double>(D), Vector<double>(N), Vector<double>(D), {}, 0};
    at.count = static_cast<int>(random.integer(1, 4));
    for (double& x : at.reward.reshaped()) x = static_cast<Scalar>(random.normal());
    if (random.chance(0.2)) at.reward = at.reward.array().round();  // ties
    for (double& each : at.log_p) each = 0.5 * random.normal();
    for (double& each : at.log_q) each = 0.5 * random.normal();
    for (double& each : at.dL_dy) each = random.normal();
    spread = std::max(0.5, at.reward.maxCoeff() - at.reward.minCoeff());
    const auto alpha = [&] { return random.chance(0.3) ? hard : random.log_uniform(0.05, 20); };
    StepParameters shared{ratio * spread, alpha(), alpha()};
    for (int k = 0; k < (per_step ? at.count : 1); ++k) {
        StepParameters step = shared;
        if (per_step) step.alpha0 *= random.log_uniform(0.7, 1.4);
        for (double* each : {&step.alpha0, &step.alpha1, &step.alpha2}) *each = static_cast<Scalar>(*each);
        at.steps.push_back(step);
    }
    return at;
}

template <class Scalar, class R>
UotProblem<Scalar, R> problem_of(const Case& at) {
    const auto prior = [](const Vector<double>& logarithms) {
        const Vector<double> masses = logarithms.array().exp();
        return (masses / masses.sum()).template cast<Scalar>().eval();
    };
    UotProblem<Scalar, R> problem{.reward = at.reward.template cast<Scalar>().eval(),
                                  .alpha0 = static_cast<Scalar>(at.steps[0].alpha0)};
    problem.features = {static_cast<Scalar>(at.steps[0].alpha1), prior(at.log_p)};
    problem.instances = {static_cast<Scalar>(at.steps[0].alpha2), prior(at.log_q)};
    return problem;
}

TEMPLATE_TEST_CASE("Gradients of Sinkhorn's steps keep their digits at small alpha0", "", float, double) {
    using Scalar = TestType;
    constexpr bool single = std::same_as<Scalar, float>;
    const auto check = [&]<class R>(R, double ratio, std::uint64_t seed) {
        Random random(seed);
        double spread = 1;
        const bool per_step = seed % 3 == 1;
        const Case at = random_case<Scalar>(random, ratio, per_step, spread);
        const auto problem = problem_of<Scalar, R>(at);
        Unrolled<Sinkhorn, StepsAlone> mode{{{.iterations = at.count, .closed_forms = false}}};
        if (per_step) mode.steps = at.steps;
        const bool pooled_only = seed % 2 == 0;
        const Vector<Scalar> dL_dy = at.dL_dy.template cast<Scalar>();
        const auto gradient = mode.backward(ConditionalReadout{}, mode.solve(problem, pooled_only), dL_dy);
        // A rounded potential is off by 1.1e-16 / ratio. At 1e-3, exponentials and their sums take over, in Scalar.
        const double tolerance = (single ? 3e-4 : 1e-9) + 1e-15 / ratio;
        const auto wanted = expected<R>(at, spread);
        INFO("alpha0 of " << ratio << " spreads, seed " << seed << ", "
                          << (std::same_as<R, Entropy> ? ", Entropy" : ", RelativeEntropy"));
        CHECK(error(in_order(at, spread, gradient), wanted) <= tolerance);
    };
    for (double ratio = 1; ratio > 1e-13; ratio /= 10) {
        for (std::uint64_t seed = 1; seed <= 12; ++seed) {
            check(Entropy{}, ratio, seed);
            check(RelativeEntropy{}, ratio, seed);
        }
    }
}

TEMPLATE_TEST_CASE("A layer of Sinkhorn steps gives six digits of a gradient, or refuses it", "", float, double) {
    using Scalar = TestType;
    int given = 0;
    int refused = 0;
    for (double ratio = 1; ratio > 1e-16; ratio /= 10) {
        for (std::uint64_t seed = 1; seed <= 12; ++seed) {
            Random random(seed);
            double spread = 1;
            Case at = random_case<Scalar>(random, ratio, false, spread);
            for (StepParameters& step : at.steps) {
                step.alpha1 = random.log_uniform(0.05, 20);
                step.alpha2 = random.log_uniform(0.05, 20);
            }
            at.log_q.setZero();
            UotLayer<Scalar> layer;
            layer.steps = at.count;
            const auto raw = [](double alpha) {
                return Vector<Scalar>::Constant(1, static_cast<Scalar>(std::log(alpha)));
            };
            layer.parameters.alpha0 = raw(at.steps[0].alpha0);
            layer.parameters.alpha1 = raw(at.steps[0].alpha1);
            layer.parameters.alpha2 = raw(at.steps[0].alpha2);
            layer.parameters.p0 = at.log_p.template cast<Scalar>();
            at.steps = {layer.step_parameters().front()};
            at.log_p = layer.parameters.p0.template cast<double>();
            const Matrix<Scalar> bag = at.reward.template cast<Scalar>();
            const Bags<Scalar> bags(bag, {0, bag.cols()});
            const auto forward = layer.forward(bags);
            const Vector<Scalar> dL_dy = at.dL_dy.template cast<Scalar>();
            INFO("alpha0 of " << ratio << " spreads, seed " << seed);
            try {
                const auto gradient = layer.backward(forward, dL_dy);
                std::vector<double> found;
                for (const Scalar each : gradient.instances.reshaped()) found.push_back(double(each) * spread);
                for (const Scalar each : gradient.parameters.p0) found.push_back(double(each));
                auto wanted = expected<Entropy>(at, spread);
                wanted.resize(found.size());  // log q0 and alphas come after
                CHECK(error(found, wanted) <= (std::same_as<Scalar, float> ? 3e-4 : 1e-6));
                ++given;
            } catch (const InvalidArgument& refusal) {
                CHECK(ratio < 1e-8);
                CHECK(std::string(refusal.what()).substr(0, 19) == "alpha0 at bag 0 is ");
                ++refused;
            }
        }
    }
    CHECK(given >= 100);
    CHECK(refused >= 20);
}

}  // namespace small_alpha0_test
