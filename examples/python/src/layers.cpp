// Copyright (c) 2026 the otpool authors. MIT licence.
#include "module.hpp"

namespace otpool_python {

void bind_layers(nb::module_& /*module*/) {}

}  // namespace otpool_python
