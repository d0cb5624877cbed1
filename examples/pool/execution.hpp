#pragma once

#include <otpool/core/execution.hpp>
#ifdef POOL_HAS_TBB
#include <otpool/adapter/onetbb.hpp>
#endif

namespace pool {

/// The policy that splits bags, and large bags by instances: so many threads, 0: one per processor.
inline otpool::Execution execution([[maybe_unused]] int threads) {
#ifdef POOL_HAS_TBB
    if (threads == 0) return otpool::OneTbb();
    if (threads > 1) return otpool::OneTbb(threads);
#endif
    return {};
}

}  // namespace pool
