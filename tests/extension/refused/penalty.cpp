// otpool: a penalty is KullbackLeibler, or has value(t) and half_step(excess, strength)
#include "otpool/otpool.hpp"

struct NoHalfStep {
    double value(double ratio) const { return ratio; }
};

otpool::Marginal<double> marginal{.alpha = 1, .penalty = NoHalfStep()};
