// Four steps of Bregman ADMM.
#include <otpool/otpool.hpp>

int main(int argc, char**) {
    const Eigen::MatrixXf bag = Eigen::MatrixXf::Ones(argc, 3);
    const otpool::Pooling pool{otpool::PoolingParameters<float>{.alpha0 = 0.1f, .instances = {.alpha = 0.5f}},
                               otpool::BregmanAdmm{{.iterations = 4}}};
    const Eigen::VectorXf pooled = pool(bag);
    return pooled.size() > 7;
}
