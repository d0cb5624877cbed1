// What the others are compared with: Eigen alone, two dynamic matrices multiplied.
#include <Eigen/Dense>

int main(int argc, char**) {
    const Eigen::MatrixXf a = Eigen::MatrixXf::Ones(argc, 3);
    const Eigen::MatrixXf b = Eigen::MatrixXf::Ones(3, argc);
    const Eigen::MatrixXf product = a * b;
    return product.rows() > 7;
}
