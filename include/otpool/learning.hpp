// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

// Learnable pooling: all of otpool.hpp, with gradients and layers. (Separate, so that pooling alone compiles faster.)

#include "otpool/gradient/differentiable_pooling.hpp"
#include "otpool/gradient/differentiable_slot_pooling.hpp"
#include "otpool/gradient/implicit.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/slot_gradient.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/gradient/structural_gradient.hpp"
#include "otpool/gradient/unrolled.hpp"
#include "otpool/layer/fixed_layer.hpp"
#include "otpool/layer/instances_as_prototypes.hpp"
#include "otpool/layer/layer_gradient.hpp"
#include "otpool/layer/learned_prior.hpp"
#include "otpool/layer/named_array.hpp"
#include "otpool/layer/positive.hpp"
#include "otpool/layer/published.hpp"
#include "otpool/layer/slot_layer.hpp"
#include "otpool/layer/two_level_layer.hpp"
#include "otpool/layer/uot_layer.hpp"
#include "otpool/otpool.hpp"
