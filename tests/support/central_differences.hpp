#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "support/random_bags.hpp"

// Derivatives by central differences, of a number that depends on everything that a problem is made of.

namespace tests {

/// d number / d step at 0, of fourth order; at(step) is the number there.
template <class At>
double central_difference(const At& at, double step) {
    return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
}

/// number() as a function of the step by which `value` is moved; after it the value is back in its place. Views both.
auto moving(double& value, const auto& number) {
    return [&value, &number, from = value](double step) {
        value = from + step;
        const double found = number();
        value = from;
        return found;
    };
}

/// A central difference of fourth order; its doubt is how far it is from those of second order.
struct Difference {
    double derivative, doubt;

    template <class At>
    Difference(const At& at, double step) {
        const double near = (at(step) - at(-step)) / (2 * step);
        const double far = (at(2 * step) - at(-2 * step)) / (4 * step);
        derivative = (4 * near - far) / 3;
        doubt = std::abs(near - far);
    }

    /// d number / d value, which is moved in steps of 1e-4 unit, or smaller where there is a kink: at the edge of the
    /// step that shows only in part. `largest`: the size of the derivatives so far.
    static Difference of(double& value, double unit, double largest, const auto& number) {
        const auto at = moving(value, number);
        const Difference found(at, 1e-4 * unit);
        if (found.doubt <= 1e-5 * (std::abs(found.derivative) + largest) + 1e-8) return found;
        const Difference smaller(at, 1e-5 * unit);
        return smaller.doubt < found.doubt ? smaller : found;
    }
    /// Whether there is a kink within the step, and so no derivative to compare with.
    bool has_kink(double largest) const { return doubt > 1e-3 * (std::abs(derivative) + largest) + 1e-8; }
};

/// A problem whose every number can be moved.
struct Parameters {
    Matrix<double> reward;
    Matrix<double> values = {};  ///< Empty: the reward.
    Vector<double> log_p0 = {};
    Vector<double> log_q0 = {};
    Vector<double> alphas1 = {};  ///< Of each feature; empty: the shared alpha1.
    Vector<double> alphas2 = {};  ///< Of each instance; empty: the shared alpha2.
    double mass = 0;              ///< Of the plan; 0: free.
    bool has_masses = false;      ///< Whether the priors are exp(log_p0) and exp(log_q0) themselves.
    otpool::StepParameters shared = {};
    std::vector<otpool::StepParameters> steps = {};  ///< Empty: the shared ones.

    template <otpool::Regularizer R>
    otpool::UotProblem<double, R> problem() const {
        otpool::UotProblem<double, R> problem{.reward = reward, .alpha0 = shared.alpha0};
        if (values.size() > 0) problem.values = values;
        problem.features = {shared.alpha1, prior(log_p0)};
        problem.instances = {shared.alpha2, prior(log_q0)};
        problem.features.alphas = alphas1;
        if (mass > 0) problem.mass = mass;
        problem.instances.alphas = alphas2;
        problem.features.has_masses = problem.instances.has_masses = has_masses;
        return problem;
    }

private:
    Vector<double> prior(const Vector<double>& logarithms) const {
        if (has_masses) return logarithms.array().exp();
        Vector<double> weights = logarithms;  // (Eigen's exp(-inf) is not 0)
        for (double& weight : weights) weight = std::exp(weight - logarithms.maxCoeff());
        return weights / weights.sum();
    }
};

inline std::ostream& operator<<(std::ostream& out, const Parameters& of) {
    out << "D " << of.reward.rows() << ", N " << of.reward.cols() << ", values " << of.values.size() << ", steps "
        << of.steps.size();
    if (of.alphas1.size() > 0) out << ", alphas1 " << of.alphas1.transpose();
    if (of.alphas2.size() > 0) out << ", alphas2 " << of.alphas2.transpose();
    if (of.mass > 0) out << ", mass " << of.mass;
    return out << ", alphas " << of.shared.alpha0 << ' ' << of.shared.alpha1 << ' ' << of.shared.alpha2 << ", rho "
               << of.shared.rho;
}

/// Which alphas a random problem may have.
struct AlphaRange {
    double least_alpha0 = 0.2;
    double most_alpha0 = 3;
    bool limits = true;  ///< marginals may be hard or free
};

inline Parameters random_parameters(Random& random, const AlphaRange& range, Index most_features = 5,
                                    Index most_instances = 7) {
    const auto normal = [&](Index rows, Index cols) {
        Matrix<double> matrix(rows, cols);
        for (double& entry : matrix.reshaped()) entry = random.normal();
        return matrix;
    };
    const auto alpha = [&]() -> double {
        if (range.limits && random.chance(0.25)) return otpool::hard;
        if (range.limits && random.chance(0.25)) return 0;
        return random.log_uniform(0.05, 20);
    };
    const Index D = random.integer(1, most_features);
    const Index N = random.integer(1, most_instances);
    Parameters drawn{.reward = normal(D, N)};
    if (random.chance(0.5)) drawn.values = normal(D, N);
    drawn.log_p0 = 0.5 * normal(D, 1);
    drawn.log_q0 = 0.5 * normal(N, 1);
    drawn.shared.alpha0 = random.log_uniform(range.least_alpha0, range.most_alpha0);
    drawn.shared.alpha1 = alpha();
    drawn.shared.alpha2 = alpha();
    drawn.shared.rho = random.log_uniform(0.3, 3) + 2 * drawn.shared.alpha0;
    return drawn;
}

/// Gives each of `steps` steps parameters of its own, about the shared ones.
inline void draw_steps(Random& random, int steps, double least_rho, Parameters& parameters) {
    for (int k = 0; k < steps; ++k) {
        otpool::StepParameters step = parameters.shared;
        step.alpha0 *= random.log_uniform(0.5, 2);
        step.alpha1 *= random.log_uniform(0.5, 2);
        step.alpha2 *= random.log_uniform(0.5, 2);
        step.rho *= random.log_uniform(least_rho, 2);
        parameters.steps.push_back(step);
    }
}

/// Gives features or instances or both an alpha each: free, soft and hard ones.
inline void draw_alphas(Random& random, Parameters& parameters, double least = 0.05, bool free = true) {
    const auto draw = [&](Vector<double>& alphas, Index size) {
        alphas.resize(size);
        for (double& alpha : alphas) {
            alpha = random.log_uniform(least, 20);
            if (random.chance(0.25)) alpha = otpool::hard;
            if (free && random.chance(0.25)) alpha = 0;
        }
    };
    const Index sides = random.integer(1, 3);
    if (sides != 2) draw(parameters.alphas1, parameters.reward.rows());
    if (sides != 1) draw(parameters.alphas2, parameters.reward.cols());
}

/// The largest difference between a gradient and central differences, relative to the largest derivative of the kind of
/// parameter, or to a thousandth of the largest of all where the kind hardly matters.
class GradientCheck {
public:
    using Number = std::function<double(const Parameters&)>;

    GradientCheck(Parameters at, Number number, const otpool::ProblemGradient<double>& gradient)
        : at_(std::move(at)), number_(std::move(number)) {
        compare("reward", at_.reward, gradient.reward);
        compare("values", at_.values, gradient.values);
        compare("log p0", at_.log_p0, gradient.log_p0);
        compare("log q0", at_.log_q0, gradient.log_q0);
        compare_steps("alpha0", &otpool::StepParameters::alpha0, gradient.alpha0);
        compare_steps("alpha1", &otpool::StepParameters::alpha1, gradient.alpha1);
        compare_steps("alpha2", &otpool::StepParameters::alpha2, gradient.alpha2);
        compare_alphas("alphas1", at_.alphas1, gradient.alphas1);
        compare_alphas("alphas2", at_.alphas2, gradient.alphas2);
        compare_mass(gradient.mass);
        compare_steps("rho", &otpool::StepParameters::rho, gradient.rho);
    }

    double error() const {
        double largest = 0;
        for (const Kind& kind : kinds_) largest = std::max(largest, relative_error(kind));
        return largest;
    }
    /// Of derivatives: that something was compared.
    double largest() const { return largest_; }
    int kinks() const { return kinks_; }

    friend std::ostream& operator<<(std::ostream& out, const GradientCheck& check) {
        for (const Kind& kind : check.kinds_) out << kind.name << ' ' << check.relative_error(kind) << ", ";
        return out << check.at_;
    }

private:
    struct Kind {
        std::string name;
        double error = 0;
        double scale = 0;
    };

    double relative_error(const Kind& kind) const {
        return kind.error / std::max({kind.scale, 1e-3 * largest_, 1e-12});
    }

    template <class Values, class Gradient>
    void compare(const char* name, Values& values, const Gradient& gradient) {
        if (values.size() != gradient.size()) kinds_.push_back({name, std::numeric_limits<double>::infinity(), 1});
        Kind kind{name};
        for (Index i = 0; i < values.size(); ++i) compare(kind, values.reshaped()[i], 1, gradient.reshaped()[i]);
        kinds_.push_back(kind);
    }

    void compare_alphas(const char* name, Vector<double>& alphas, const Vector<double>& gradient) {
        if (alphas.size() != gradient.size()) kinds_.push_back({name, std::numeric_limits<double>::infinity(), 1});
        Kind kind{name};
        for (Index i = 0; i < gradient.size(); ++i) compare_alpha(kind, alphas[i], gradient[i]);
        kinds_.push_back(kind);
    }

    void compare_mass(double gradient) {
        Kind kind{"mass"};
        if (at_.mass > 0) compare(kind, at_.mass, at_.mass, gradient);
        kinds_.push_back(kind);
    }

    void compare_steps(const char* name, double otpool::StepParameters::*parameter, const Vector<double>& gradient) {
        Kind kind{name};
        auto& steps = at_.steps;
        if (gradient.size() != std::max<Index>(1, static_cast<Index>(steps.size()))) {
            kind = {name, std::numeric_limits<double>::infinity(), 1};
        }
        for (Index k = 0; k < gradient.size(); ++k) {
            otpool::StepParameters& step = steps.empty() ? at_.shared : steps[static_cast<std::size_t>(k)];
            compare_alpha(kind, step.*parameter, gradient[k]);
        }
        kinds_.push_back(kind);
    }

    /// Where alpha is 0 or infinite there is no other side to go to.
    void compare_alpha(Kind& kind, double& alpha, double derivative) {
        if (alpha > 0 && std::isfinite(alpha)) compare(kind, alpha, alpha, derivative);
    }

    void compare(Kind& kind, double& value, double unit, double derivative) {
        const auto found = Difference::of(value, unit, largest_, [&] { return number_(at_); });
        if (found.has_kink(largest_)) {
            ++kinks_;
            return;
        }
        const double numeric = found.derivative;
        kind.error = std::max(kind.error, std::abs(numeric - derivative));
        kind.scale = std::max(kind.scale, std::abs(numeric));
        largest_ = std::max(largest_, std::abs(numeric));
    }

    Parameters at_;
    Number number_;
    std::vector<Kind> kinds_;
    double largest_ = 0;
    int kinks_ = 0;
};

/// Compares the gradient of a random combination of the pooled vector's entries, at(parameters) being the mode there.
template <otpool::Regularizer R, class At, class Readout>
GradientCheck check_gradient(Random& random, const Parameters& parameters, const At& at, const Readout& readout) {
    Vector<double> weights(parameters.reward.rows());
    for (double& weight : weights) weight = random.normal();
    const auto tape = at(parameters).solve(parameters.problem<R>());
    return GradientCheck(
        parameters,
        [&](const Parameters& moved) {
            return weights.dot(otpool::detail::read(readout, at(moved).solve(moved.problem<R>())));
        },
        at(parameters).backward(readout, tape, weights));
}

}  // namespace tests
