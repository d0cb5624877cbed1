#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include <otpool/layer/published_steps.hpp>
#include <otpool/otpool.hpp>

#include "../support/aligned.hpp"
#include "poolings.hpp"
#include "report.hpp"

/// Numbers that show why the updates of the released layers were not kept.
namespace reproduce {

namespace detail {

namespace published = otpool::published;

/// The ADMM layer with entropy.
using AdmmSteps = published::BregmanAdmmSteps<otpool::Entropy>;

inline std::string digits(double value) { return (std::ostringstream() << std::setprecision(3) << value).str(); }

/// Errors below a millionth come from the logarithm of q0, to which the layers add 1e-8.
inline std::string percent(double part) {
    return !std::isfinite(part) ? digits(part) : part < 1e-6 ? "0" : digits(100 * part) + " %";
}

inline Vector uniform(otpool::Index size) { return Vector::Constant(size, 1 / static_cast<double>(size)); }

/// max |a - b|, NaN if any entry is.
inline double distance(const Matrix& a, const Matrix& b) { return (a - b).cwiseAbs().maxCoeff<Eigen::PropagateNaN>(); }

/// The result of 100 steps of the Sinkhorn layer, beside the optimum: a line of print_sinkhorn's table.
inline std::vector<std::string> sinkhorn_line(const Input& input, double alpha0, double alpha) {
    constexpr int steps = 100;
    std::vector<std::string> line = {digits(alpha0), digits(alpha)};
    const published::Step step{.alpha0 = alpha0, .alpha1 = alpha, .alpha2 = alpha};
    published::SinkhornSteps layer(input.bag, uniform(input.bag.cols()), step);
    Vector mean;
    int finite_steps = 0;
    for (int k = 1; k <= steps; ++k) {
        layer.step(step);
        if (k <= 3 || k == steps) line.push_back(digits(layer.plan().sum()));
        mean = direct::weighted(layer.plan(), input.bag).vector;
        if (finite_steps == k - 1 && mean.allFinite()) finite_steps = k;
    }
    const otpool::UotProblem<double> problem{
        .reward = input.bag, .alpha0 = alpha0, .features = {alpha}, .instances = {alpha}};
    const auto optimum = otpool::Newton{{.tolerance = 1e-12}}.solve(problem);
    line.push_back(digits(optimum.mass()));
    line.push_back(percent(distance(layer.plan(), optimum.plan()) / optimum.plan().maxCoeff()));
    line.push_back(finite_steps == steps ? percent(distance(mean, otpool::ConditionalReadout{}(optimum)) / input.spread)
                                         : "NaN from step " + std::to_string(finite_steps + 1) + " on");
    return line;
}

inline void print_sinkhorn(std::ostream& stream, const Input& input) {
    stream << "Sinkhorn: the mass of the layer's plan after 1, 2, 3 and 100 steps, and of the optimum (Newton);\n"
              "how far the layer's last plan is off, relative to the optimum's largest entry, and its\n"
              "conditional mean, relative to the bag's spread.\n\n";
    support::print_aligned(stream,
                           {{"alpha0", "alpha1, alpha2", "step 1", "2", "3", "100", "optimum", "plan off", "mean off"},
                            sinkhorn_line(input, 0.1, 1),
                            sinkhorn_line(input, 1, 1),
                            sinkhorn_line(input, 5, 1),
                            sinkhorn_line(input, 5, 10)});
}

/// How much the plan, scaled to mass 1, changes as alpha1 and alpha2 go from 0.01 to 100, relative to its
/// largest entry.
inline double change_with_alphas(const auto& plan_at) {
    constexpr std::array alphas = {0.01, 0.1, 1.0, 10.0, 100.0};
    const auto scaled_plan_at = [&](double alpha1, double alpha2) -> Matrix {
        const Matrix plan = plan_at(alpha1, alpha2);
        return plan / plan.sum();
    };
    const Matrix first = scaled_plan_at(alphas.front(), alphas.front());
    double change = 0;
    for (const double alpha1 : alphas) {
        for (const double alpha2 : alphas) {
            change = std::max(change, distance(scaled_plan_at(alpha1, alpha2), first) / first.maxCoeff());
        }
    }
    return change;
}

inline void print_admm_alphas(std::ostream& stream, const Matrix& bag) {
    constexpr double alpha0 = 0.1;
    const auto after = [&](int steps) {
        return one_digit(change_with_alphas([&](double alpha1, double alpha2) {
            AdmmSteps layer(bag, uniform(bag.cols()));
            const published::Step step{.alpha0 = alpha0, .alpha1 = alpha1, .alpha2 = alpha2};
            for (int k = 0; k < steps; ++k) layer.step(step);
            return layer.plan();
        }));
    };
    const double optimum = change_with_alphas([&](double alpha1, double alpha2) {
        return otpool::Newton{}
            .solve(otpool::UotProblem<double>{
                .reward = bag, .alpha0 = alpha0, .features = {alpha1}, .instances = {alpha2}})
            .plan();
    });
    stream << "ADMM: how much the plan changes, relative to its largest entry, as alpha1 and alpha2 go from\n"
              "0.01 to 100 at alpha0 = 0.1: the layer's after 4 steps by "
           << after(4) << ", after 100 by " << after(100) << ",\nthe optimum (Newton) by " << digits(optimum) << ".\n";
}

/// Max pooling is alpha0 = alpha2 = 0, alpha1 = inf. The layer takes no such values, but 1e-6 and 1e6.
inline void print_admm_max(std::ostream& stream, const Input& input) {
    const Vector max = direct::max(input.bag).vector;
    const double rho = otpool::BregmanAdmm::default_rho(otpool::UotProblem<double>{.reward = input.bag, .alpha0 = 0});
    const auto off = [&](const Vector& pooled) { return digits(distance(pooled, max) / input.spread); };
    std::vector<std::vector<std::string>> lines = {{"steps", "layer", "otpool::BregmanAdmm"}};
    for (const int steps : {4, 100, 1000}) {
        AdmmSteps layer(input.bag, uniform(input.bag.cols()));
        const published::Step step{.alpha0 = 1e-6, .alpha1 = 1e6, .alpha2 = 1e-6, .rho = rho};
        for (int k = 0; k < steps; ++k) layer.step(step);
        const otpool::BregmanAdmm ours{{.iterations = steps, .closed_forms = false}, rho};
        lines.push_back({std::to_string(steps), off(published::pooled(layer.plan(), input.bag)),
                         off(otpool::max_pooling<double>(ours)(input.bag))});
    }
    stream << "ADMM asked for max pooling: how far the pooled vector is from the max, relative to the bag's\n"
              "spread. (Exact transport is "
           << off(direct::exact_transport(input.bag).vector) << " from it.)\n\n";
    support::print_aligned(stream, lines);
}

}  // namespace detail

inline void print_published(std::ostream& stream, const Input& input) {
    stream << "The layers of SDS-Lab/ROT-Pooling, a02e62c, on the made-up bag, in double.\n\n";
    detail::print_sinkhorn(stream, input);
    stream << '\n';
    detail::print_admm_alphas(stream, input.bag);
    stream << '\n';
    detail::print_admm_max(stream, input);
}

}  // namespace reproduce
