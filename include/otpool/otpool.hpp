// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

/// @namespace otpool
/// Global pooling by unbalanced optimal transport: problems, solvers, poolings. Gradients and layers are in
/// otpool/learning.hpp. Headers that need other libraries are in otpool/adapter.

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/version.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/pooling/attention.hpp"
#include "otpool/pooling/dynamic_routing.hpp"
#include "otpool/pooling/instance_prior.hpp"
#include "otpool/pooling/named_poolings.hpp"
#include "otpool/pooling/named_slot_poolings.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/pooling/slot_pooling.hpp"
#include "otpool/pooling/transform.hpp"
#include "otpool/pooling/two_level.hpp"
#include "otpool/problem/at_most.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/range.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/total_variation.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/active_set.hpp"
#include "otpool/solver/automatic.hpp"
#include "otpool/solver/bregman_admm.hpp"
#include "otpool/solver/closed_form.hpp"
#include "otpool/solver/newton.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "otpool/solver/solver.hpp"
