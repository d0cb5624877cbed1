// otpool: the offsets of bags are integers
#include "otpool/core/bags.hpp"

#include <vector>

otpool::Bags bags(otpool::Matrix<float>(2, 3), std::vector<double>{0, 3});
