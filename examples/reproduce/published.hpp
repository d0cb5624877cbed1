#pragma once

#include <Eigen/Core>
#include <cmath>

/// The layers that the authors of the method released, SDS-Lab/ROT-Pooling (MIT licence, commit a02e62c), for
/// one bag: what they compute, step by step, under this project's names. They do not solve the problem they
/// are named after, which is what `reproduce --published` shows.
namespace reproduce::published {

using Matrix = Eigen::MatrixXd;  ///< D x N: features by instances
using Vector = Eigen::VectorXd;

/// What one step takes; the released layers learn a set for every step. All > 0 and finite.
struct Step {
    double alpha0 = 1;
    double alpha1 = 1;
    double alpha2 = 1;
    double rho = 1;
};

/// log sum_n exp(y_dn) of every feature d.
inline Vector sum_over_instances(const Matrix& y) {
    const Vector top = y.rowwise().maxCoeff();
    return (y.colwise() - top).array().exp().rowwise().sum().log().matrix() + top;
}

/// log sum_d exp(y_dn) of every instance n.
inline Vector sum_over_features(const Matrix& y) { return sum_over_instances(y.transpose()); }

inline double log_sum(const Vector& y) { return y.maxCoeff() + std::log((y.array() - y.maxCoeff()).exp().sum()); }

/// The logarithms of the uniform feature prior and of q0, as the layers take them.
struct LogPriors {
    Vector features, instances;

    LogPriors(Eigen::Index feature_count, const Vector& q0)
        : features(Vector::Constant(feature_count, -std::log(static_cast<double>(feature_count)))),
          instances((q0.array() + 1e-8).log()) {}
};

/// With the C library's exp, which is 0 where the plan is too small for a double; Eigen's stops at 1e-308.
inline Matrix exp(const Matrix& log_plan) {
    return log_plan.unaryExpr([](double y) { return std::exp(y); });
}

/// z_d = D sum_n T_dn x_dn
inline Vector pool(const Matrix& plan, const Matrix& bag) {
    return static_cast<double>(bag.rows()) * plan.cwiseProduct(bag).rowwise().sum();
}

/// The Sinkhorn layer. Its potentials a and b carry the factor 1/alpha0, yet are divided by alpha0 again.
class Sinkhorn {
public:
    Sinkhorn(const Matrix& bag, const Vector& q0, double first_alpha0)
        : bag_(bag),
          prior_(bag.rows(), q0),
          a_(Vector::Zero(bag.rows())),
          b_(Vector::Zero(bag.cols())),
          log_plan_(bag / first_alpha0) {}

    void step(const Step& s) {
        const Vector a = a_ / s.alpha0 + prior_.features - sum_over_instances(log_plan_);
        const Vector b = b_ / s.alpha0 + prior_.instances - sum_over_features(log_plan_);
        a_ = s.alpha1 / (s.alpha1 + s.alpha0) * a;
        b_ = s.alpha2 / (s.alpha2 + s.alpha0) * b;
        log_plan_ = ((bag_ / s.alpha0).colwise() + a_).rowwise() + b_.transpose();
    }

    Matrix plan() const { return exp(log_plan_); }

private:
    Matrix bag_;
    LogPriors prior_;
    Vector a_, b_;
    Matrix log_plan_;
};

/// The Bregman ADMM layer with entropy. T and S are scaled to the marginals eta and mu before their distance
/// from them is taken, so z1 and z2 stay at zero, and eta and mu at the priors.
class BregmanAdmm {
public:
    BregmanAdmm(const Matrix& bag, const Vector& q0)
        : bag_(bag),
          prior_(bag.rows(), q0),
          log_mu_(prior_.features),
          log_eta_(prior_.instances),
          log_t_(prior_.features.rowwise().replicate(bag.cols()).rowwise() + prior_.instances.transpose()),
          log_s_(log_t_),
          dual_(Matrix::Zero(bag.rows(), bag.cols())),
          z1_(Vector::Zero(bag.rows())),
          z2_(Vector::Zero(bag.cols())) {}

    void step(const Step& s) {
        log_t_ = (bag_ - dual_) / s.rho + log_s_;
        log_t_.rowwise() += (log_eta_ - sum_over_features(log_t_)).transpose();
        log_s_ = (dual_ + s.rho * log_t_) / (s.alpha0 + s.rho);
        log_s_.colwise() += log_mu_ - sum_over_instances(log_s_);
        const Matrix T = exp(log_t_);
        const Matrix S = exp(log_s_);
        dual_ += s.rho * (T - S);

        log_mu_ = (s.rho * log_mu_ + s.alpha1 * prior_.features - z1_) / (s.rho + s.alpha1);
        log_mu_.array() -= log_sum(log_mu_);
        log_eta_ = (s.rho * log_eta_ + s.alpha2 * prior_.instances - z2_) / (s.rho + s.alpha2);
        log_eta_.array() -= log_sum(log_eta_);
        z1_ += s.rho * (log_mu_.array().exp().matrix() - S.rowwise().sum());
        z2_ += s.rho * (log_eta_.array().exp().matrix() - T.colwise().sum().transpose());
    }

    Matrix plan() const { return exp(log_t_); }

private:
    Matrix bag_;
    LogPriors prior_;
    Vector log_mu_, log_eta_;
    Matrix log_t_, log_s_;
    Matrix dual_;
    Vector z1_, z2_;
};

}  // namespace reproduce::published
