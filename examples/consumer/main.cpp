#include <otpool/otpool.hpp>

#include <iostream>

int main() {
    const Eigen::MatrixXf bag{{1, 2, 3}, {6, 5, 4}};  // two features, three instances, one a column
    const Eigen::VectorXf pooled = otpool::max_pooling<float>()(bag);
    std::cout << pooled.transpose() << '\n';
    return pooled == Eigen::Vector2f(3, 6) ? 0 : 1;
}
