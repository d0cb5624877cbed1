// otpool: a regulariser is what otpool/problem/regularizers.hpp says
#include "otpool/otpool.hpp"

struct Unknown {};

otpool::UotProblem<double, Unknown> problem;
