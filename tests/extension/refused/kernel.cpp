// otpool: a kernel has set(), log_row_sums() and sweep()
#include "otpool/otpool.hpp"

struct NoKernel {};

otpool::SinkhornOver<NoKernel> solver;
