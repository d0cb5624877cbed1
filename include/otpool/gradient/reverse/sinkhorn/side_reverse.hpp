// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/half_step_reverse.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// alpha0 of a step, and the derivatives with respect to it and to an alpha of all lines, to add to.
struct StepAlphas {
    Real alpha0;
    Real& of_alpha0;
    Real& of_alpha;  ///< Not used where lines have alphas of their own.
};

/// The reverse of what Sinkhorn's steps compute of one side: half steps, and the mass that a translation compares. Adds
/// up the derivatives with respect to the side's log-prior and to its lines' alphas. Cost of each call: O(lines).
template <std::same_as<Real> Work = Real>
class SideReverse {
public:
    /// Zeros. `own_alphas`: whether the derivatives of alphas are wanted line by line.
    void start(Index lines, bool own_alphas) {
        log_prior_.assign(lines, 0);
        alphas_.assign(own_alphas ? lines : 0, 0);
        of_log_mass_.assign(lines, 0);
    }

    Buffer<Work>& log_prior() { return log_prior_; }
    /// dL/dalpha of each line, or empty.
    const Buffer<Work>& alphas() const { return alphas_; }

    /// The reverse of F = k (log prior - s) + (1 - k) anchor, k = alpha / (alpha + alpha0), given dL/dF. Sets of_log_sum()
    /// and returns its sum.
    Work half_step(const Side& side, const Work* log_sum, const Buffer<Work>& of_potential, const StepAlphas& step) {
        const Index lines = side.size();
        for (Buffer<Work>* each : {&of_each_, &of_log_sum_}) each->resize(lines);
        side.with_lines([&](const auto& line_of) {
            for (Index i = 0; i < lines; ++i) {
                const HalfStepDerivatives<Work> of_line(of_potential[i], 0, line_of(i).damping, side.log_prior[i],
                                                        log_sum[i] + side.anchor[i]);
                log_prior_[i] += of_line.of_prior;
                of_log_sum_[i] = of_line.of_log_sum;
                of_each_[i] = of_line.of_damping;
            }
        });
        pull_back_alphas(side, step, pull_back_damping);
        if (side.differ()) {  // the logarithm of a free line's mass is its s
            of_log_sum_.vector() += of_log_mass_.vector();
            of_log_mass_.vector().setZero();
        }
        return of_log_sum_.vector().sum();
    }

    /// dL/ds = -k dL/dF, and what pull_back_mass() found before.
    const Buffer<Work>& of_log_sum() const { return of_log_sum_; }

    /// Sets each line's share of the mass that the side asks for, as TranslatedMass has it. moved(i): the potential f_i /
    /// alpha0 after the translation; log_mass(i): the mass of a free line, likewise. Returns by how much the
    /// logarithm of that mass falls as t grows.
    Work set_shares(const Side& side, const auto& moved, const auto& log_mass) {
        const Index lines = side.size();
        share_.resize(lines);
        Work* const share = share_.data();
        if (!side.differ()) {
            for (Index i = 0; i < lines; ++i) share[i] = side.log_prior[i] - side.common.ratio * moved(i);
            bounded_exp(share, lines, share, log_sum_exp(share, lines));
            return side.common.ratio;
        }
        for (Index i = 0; i < lines; ++i) {
            const Stiffness& line = side.line(i);
            share[i] = line.is_free() ? log_mass(i) : side.log_prior[i] - line.ratio * moved(i);
        }
        bounded_exp(share, lines, share, log_sum_exp(share, lines));
        Work slope = 0;
        for (Index i = 0; i < lines; ++i) slope += share[i] * (side.line(i).is_free() ? 1 : side.line(i).ratio);
        return slope;
    }

    /// The reverse of the logarithm of that mass at a fixed translation, given its derivative. Adds to of_potential, and
    /// for free lines to the next of_log_sum().
    void pull_back_mass(const Side& side, Work of_log_asked, const auto& moved, Buffer<Work>& of_potential,
                        const StepAlphas& step) {
        const Index lines = side.size();
        of_each_.resize(lines);
        side.with_lines([&](const auto& line_of) {
            for (Index i = 0; i < lines; ++i) {
                const Stiffness& line = line_of(i);
                const Work of_exponent = of_log_asked * share_[i];
                const bool is_free = line.is_free();
                if (is_free) of_log_mass_[i] += of_exponent;
                log_prior_[i] += is_free ? 0 : of_exponent;
                of_potential[i] -= is_free ? 0 : line.ratio * of_exponent;
                of_each_[i] = -of_exponent * moved(i);
            }
        });
        pull_back_alphas(side, step, pull_back_ratio);
    }

    /// Adds to the derivative with respect to the alpha that all lines have: a part of it for each line.
    void add_to_alpha(Work derivative, Work& of_alpha) {
        for (Work& of_line : alphas_) of_line += derivative / static_cast<Work>(alphas_.size());
        if (alphas_.size() == 0) of_alpha += derivative;
    }

private:
    /// of_each_ are the derivatives with respect to a function of each line's alpha and alpha0, whose reverse this is.
    void pull_back_alphas(const Side& side, const StepAlphas& step, const auto& pull_back) {
        if (alphas_.size() == 0) {
            step.of_alpha0 += pull_back(of_each_.vector().sum(), side.common.alpha, step.alpha0, step.of_alpha);
            return;
        }
        for (Index i = 0; i < alphas_.size(); ++i) {
            step.of_alpha0 += pull_back(of_each_[i], side.line(i).alpha, step.alpha0, alphas_[i]);
        }
    }

    Buffer<Work> log_prior_, alphas_;
    Buffer<Work> of_log_mass_;  ///< dL/dlog mass of free lines, in a translation.
    Buffer<Work> of_log_sum_, share_, of_each_;
};

}  // namespace otpool::detail
