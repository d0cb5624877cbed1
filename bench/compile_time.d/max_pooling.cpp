// A pooling with a closed form.
#include <otpool/otpool.hpp>

int main(int argc, char**) {
    const Eigen::MatrixXf bag = Eigen::MatrixXf::Ones(argc, 3);
    const Eigen::VectorXf pooled = otpool::max_pooling<float>()(bag);
    return pooled.size() > 7;
}
