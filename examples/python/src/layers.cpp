// Copyright (c) 2026 the otpool authors. MIT licence.
#include "layer_poolings.hpp"
#include "layer_published.hpp"
#include "layer_slots.hpp"
#include "module.hpp"

// The layers of otpool.torch, in one file: they share solvers, and what they share is compiled once.

namespace otpool_python {

void bind_layers(nb::module_& module) {
    nb::set_leak_warnings(false);  // a graph of PyTorch may live as long as the interpreter, and its tapes with it
    bind_pooling_layers(module);
    bind_slot_layers(module);
    bind_published_layers(module);
}

}  // namespace otpool_python
