// otpool: a solver has solve(problem, run) -> Solution
#include "otpool/otpool.hpp"

struct NoSolver {};

otpool::Pooling<double, NoSolver> pooling;
