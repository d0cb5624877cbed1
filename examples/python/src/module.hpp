// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <nanobind/nanobind.h>

namespace otpool_python {

namespace nb = nanobind;

// The parts of the extension module, a source file each.
void bind_solvers(nb::module_& module);
void bind_poolings(nb::module_& module);
void bind_slots(nb::module_& module);
void bind_layers(nb::module_& module);

}  // namespace otpool_python
