#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

// The released layers written down a second time, to test the library's against: plain loops over (N, D) arrays of long
// double as PyTorch has them, logarithms of plain sums, the released names of the parameters.

namespace tests::restated {

using Real = long double;
using Array1 = std::vector<Real>;
using Array2 = std::vector<Array1>;  ///< (N, D): row n is instance n

/// After softplus: of K entries, or of one.
struct Parameters {
    Array1 a1, a2, a3, rho;

    static Real at(const Array1& values, int k) { return values.size() == 1 ? values[0] : values.at(std::size_t(k)); }
};

struct Result {
    Array2 T;
    Array1 z;
};

inline Real softplus(Real raw) { return std::log(1 + std::exp(raw)); }

/// log sum over the instances of feature d.
inline Real lse_n(const Array2& y, std::size_t d) {
    Real sum = 0;
    for (const Array1& row : y) sum += std::exp(row[d]);
    return std::log(sum);
}

/// log sum over the features of instance n.
inline Real lse_d(const Array2& y, std::size_t n) {
    Real sum = 0;
    for (const Real entry : y[n]) sum += std::exp(entry);
    return std::log(sum);
}

inline void normalize(Array1& logs) {
    Real sum = 0;
    for (const Real entry : logs) sum += std::exp(entry);
    for (Real& entry : logs) entry -= std::log(sum);
}

inline Result read(const Array2& log_plan, const Array2& x) {
    const std::size_t D = x[0].size();
    Result result{log_plan, Array1(D, 0)};
    for (std::size_t n = 0; n < x.size(); ++n) {
        for (std::size_t d = 0; d < D; ++d) {
            result.T[n][d] = std::exp(log_plan[n][d]);
            result.z[d] += static_cast<Real>(D) * result.T[n][d] * x[n][d];
        }
    }
    return result;
}

/// softmax_n of w2 . tanh(W1 x_n)
inline Array1 learned_q0(const Array2& x, const Array2& W1, const Array1& w2) {
    Array1 q0;
    Real sum = 0;
    for (const Array1& row : x) {
        Real score = 0;
        for (std::size_t l = 0; l < W1.size(); ++l) {
            Real hidden = 0;
            for (std::size_t d = 0; d < row.size(); ++d) hidden += W1[l][d] * row[d];
            score += w2[l] * std::tanh(hidden);
        }
        q0.push_back(std::exp(score));
        sum += q0.back();
    }
    for (Real& entry : q0) entry /= sum;
    return q0;
}

inline Result sinkhorn(const Array2& x, const Array1& q0, const Parameters& p, int K) {
    const std::size_t N = x.size();
    const std::size_t D = x[0].size();
    const Real lp = -std::log(static_cast<Real>(D));
    Array1 a(D, 0);
    Array1 b(N, 0);
    Array2 y = x;
    for (Array1& row : y) {
        for (Real& entry : row) entry /= Parameters::at(p.a1, 0);
    }
    for (int k = 0; k < K; ++k) {
        const Real a1 = Parameters::at(p.a1, k);
        const Real a2 = Parameters::at(p.a2, k);
        const Real a3 = Parameters::at(p.a3, k);
        for (std::size_t d = 0; d < D; ++d) a[d] = a2 / (a2 + a1) * (a[d] / a1 + lp - lse_n(y, d));
        for (std::size_t n = 0; n < N; ++n) {
            b[n] = a3 / (a3 + a1) * (b[n] / a1 + std::log(q0[n] + 1e-8L) - lse_d(y, n));
        }
        for (std::size_t n = 0; n < N; ++n) {
            for (std::size_t d = 0; d < D; ++d) y[n][d] = x[n][d] / a1 + a[d] + b[n];
        }
    }
    return read(y, x);
}

inline Result badmm(const Array2& x, const Array1& q0, const Parameters& p, int K, bool quadratic) {
    const std::size_t N = x.size();
    const std::size_t D = x[0].size();
    const Real lp = -std::log(static_cast<Real>(D));
    Array1 lq;
    for (const Real q : q0) lq.push_back(std::log(q + 1e-8L));
    Array1 log_mu(D, lp);
    Array1 log_eta = lq;
    Array2 log_t(N, Array1(D));
    for (std::size_t n = 0; n < N; ++n) log_t[n].assign(D, lq[n] + lp);
    Array2 log_s = log_t;
    Array2 Z(N, Array1(D, 0));
    Array1 z1(D, 0);
    Array1 z2(N, 0);
    for (int k = 0; k < K; ++k) {
        const Real a1 = Parameters::at(p.a1, k);
        const Real a2 = Parameters::at(p.a2, k);
        const Real a3 = Parameters::at(p.a3, k);
        const Real rho = Parameters::at(p.rho, k);
        Array2 y = log_t;
        for (std::size_t n = 0; n < N; ++n) {
            for (std::size_t d = 0; d < D; ++d) {
                const Real regularizer = quadratic ? a1 * std::exp(log_s[n][d]) : 0;
                y[n][d] = (x[n][d] - regularizer - Z[n][d]) / rho + log_s[n][d];
            }
            for (std::size_t d = 0; d < D; ++d) log_t[n][d] = y[n][d] + log_eta[n] - lse_d(y, n);
        }
        for (std::size_t n = 0; n < N; ++n) {
            for (std::size_t d = 0; d < D; ++d) {
                y[n][d] = quadratic ? (Z[n][d] - a1 * std::exp(log_t[n][d])) / rho + log_t[n][d]
                                    : (Z[n][d] + rho * log_t[n][d]) / (a1 + rho);
            }
        }
        for (std::size_t d = 0; d < D; ++d) {
            const Real scale = log_mu[d] - lse_n(y, d);
            for (std::size_t n = 0; n < N; ++n) log_s[n][d] = y[n][d] + scale;
        }
        Array1 t_of_n(N, 0);
        Array1 s_of_d(D, 0);
        for (std::size_t n = 0; n < N; ++n) {
            for (std::size_t d = 0; d < D; ++d) {
                const Real T = std::exp(log_t[n][d]);
                const Real S = std::exp(log_s[n][d]);
                Z[n][d] += rho * (T - S);
                t_of_n[n] += T;
                s_of_d[d] += S;
            }
        }
        for (std::size_t d = 0; d < D; ++d) log_mu[d] = (rho * log_mu[d] + a2 * lp - z1[d]) / (rho + a2);
        for (std::size_t n = 0; n < N; ++n) log_eta[n] = (rho * log_eta[n] + a3 * lq[n] - z2[n]) / (rho + a3);
        normalize(log_mu);
        normalize(log_eta);
        for (std::size_t d = 0; d < D; ++d) z1[d] += rho * (std::exp(log_mu[d]) - s_of_d[d]);
        for (std::size_t n = 0; n < N; ++n) z2[n] += rho * (std::exp(log_eta[n]) - t_of_n[n]);
    }
    return read(log_t, x);
}

/// The released layer of that name: "sinkhorn", "badmm-e" or "badmm-q".
inline Result layer(const std::string& method, const Array2& x, const Array1& q0, const Parameters& p, int K) {
    return method == "sinkhorn" ? sinkhorn(x, q0, p, K) : badmm(x, q0, p, K, method == "badmm-q");
}

}  // namespace tests::restated
