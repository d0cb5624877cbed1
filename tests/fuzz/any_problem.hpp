#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>

#include "fuzz_input.hpp"
#include "otpool/otpool.hpp"

// Problems and options made of the fuzzer's bytes.

namespace fuzz {

using namespace otpool;

constexpr double inf = std::numeric_limits<double>::infinity();

/// Where a bag's numbers are from.
enum class Numbers { ties, scaled, extremes, any };

template <class Scalar>
class MadeProblem {
public:
    Matrix<Scalar> reward, values;
    Scalar alpha0, alpha1, alpha2;
    Vector<Scalar> p0, q0;
    bool p_has_masses, q_has_masses;

    explicit MadeProblem(Input& input) {
        const auto features = static_cast<Index>(1 + input.below(6));
        const auto instances = static_cast<Index>(1 + input.below(8));
        alpha0 = alpha(input);
        alpha1 = alpha(input);
        alpha2 = alpha(input);
        p_has_masses = input.chance(4);
        q_has_masses = input.chance(4);
        p0 = prior(input, features, p_has_masses);
        q0 = prior(input, instances, q_has_masses);
        const bool has_values = input.chance(2);
        reward = bag(input, features, instances);
        if (has_values) values = bag(input, features, instances);
    }

    template <class R>
    UotProblem<Scalar, R> problem() const {
        return {.reward = reward,
                .values = values,
                .alpha0 = alpha0,
                .features = {.alpha = alpha1, .prior = p0, .has_masses = p_has_masses},
                .instances = {.alpha = alpha2, .prior = q0, .has_masses = q_has_masses}};
    }

    /// Whether rewards and alphas are at most 1e4 apart.
    bool is_moderate() const {
        double least = inf;
        double most = 0;
        const auto add = [&](Scalar number) {
            const double size = std::abs(static_cast<double>(number));
            most = std::isinf(size) ? most : std::max(most, size);
            return size;
        };
        for (const Scalar alpha : {alpha0, alpha1, alpha2}) least = alpha > 0 ? std::min(least, add(alpha)) : least;
        for (const Scalar x : reward.reshaped()) add(x);
        return most <= 1e4 * least && most < 1e30;
    }

private:
    static Scalar alpha(Input& input) {
        static constexpr std::array<double, 16> usual = {1,    0,     inf, 0.5,   2,    0.1,     1e-3,   10,
                                                         1e-8, 1e-14, 1e6, 1e-30, 1e30, 1.7e308, 5e-324, 1e-300};
        if (input.chance(16)) return input.take<Scalar>();
        return static_cast<Scalar>(input.one_of(usual));
    }

    static Vector<Scalar> prior(Input& input, Index size, bool has_masses) {
        static constexpr std::array<double, 12> usual = {1, 2, 0, 0.1, 5, 1e-3, 1e-8, 1e-30, 1e3, 1e30, 1e-300, 5e-324};
        if (input.chance(2)) return {};
        Vector<Scalar> prior(size);
        for (Scalar& entry : prior)
            entry = input.chance(64) ? input.take<Scalar>() : static_cast<Scalar>(input.one_of(usual));
        if (!has_masses) prior /= prior.sum();
        return prior;
    }

    static Matrix<Scalar> bag(Input& input, Index features, Index instances) {
        static constexpr std::array<double, 12> extremes = {0,     1,      -1,     1e30,    -1e30,    1e-30,
                                                            1e300, -1e300, 1e-300, 1.7e308, -1.7e308, 5e-324};
        const auto numbers = static_cast<Numbers>(input.below(4));
        const bool forbids = input.chance(4);
        const double scale = std::pow(10.0, static_cast<double>(input.take<std::int8_t>()) / 4);
        Matrix<Scalar> bag(features, instances);
        for (Scalar& entry : bag.reshaped()) {
            double number = 0;
            switch (numbers) {
                case Numbers::ties: number = static_cast<double>(input.below(5)) / 2; break;
                case Numbers::scaled: number = scale * input.take<std::int16_t>() / 4096; break;
                case Numbers::extremes: number = input.one_of(extremes); break;
                case Numbers::any: number = static_cast<double>(input.take<Scalar>()); break;
            }
            entry = static_cast<Scalar>(forbids && input.chance(4) ? -inf : number);
        }
        return bag;
    }
};

inline Options any_options(Input& input) {
    static constexpr std::array limits = {20, 1, 2, 5, 60};
    static constexpr std::array tolerances = {1e-8, 1e-3, 1e-12, 1e-5};
    Options options{.max_iterations = input.one_of(limits)};
    if (input.chance(4)) options.iterations = input.one_of(limits);
    if (input.chance(2)) options.tolerance = input.one_of(tolerances);
    options.closed_forms = !input.chance(2);
    options.history = input.chance(4);
    return options;
}

template <class Scalar, class R>
std::string described(const UotProblem<Scalar, R>& problem) {
    std::ostringstream text;
    text.precision(std::numeric_limits<Scalar>::max_digits10);
    text << "reward\n"
         << problem.reward.matrix() << "\nvalues\n"
         << problem.values.matrix() << "\nalphas " << problem.alpha0 << ' ' << problem.features.alpha << ' '
         << problem.instances.alpha << "\np0 " << problem.features.prior.transpose() << "\nq0 "
         << problem.instances.prior.transpose() << "\nmasses " << problem.features.has_masses << ' '
         << problem.instances.has_masses << (sizeof(Scalar) == 4 ? ", float" : ", double");
    return text.str();
}

}  // namespace fuzz
