// Copyright (c) 2026 the otpool authors. MIT licence.
#include "module.hpp"

#include <exception>

#include <otpool/core/error.hpp>
#include <otpool/core/version.hpp>

namespace otpool_python {

namespace {

/// Errors of the library become those of otpool/errors.py, with the same words.
void translate(const std::exception_ptr& thrown, void* /*payload*/) {
    const auto raise = [](const char* name, const std::exception& error) {
        PyErr_SetString(nb::module_::import_("otpool.errors").attr(name).ptr(), error.what());
    };
    try {
        std::rethrow_exception(thrown);
    } catch (const otpool::InvalidArgument& error) {
        raise("InvalidArgument", error);
    } catch (const otpool::UnsupportedProblem& error) {
        raise("UnsupportedProblem", error);
    } catch (const otpool::Error& error) {
        raise("Error", error);
    }
}

}  // namespace
}  // namespace otpool_python

// NOLINTNEXTLINE: what the macro makes
NB_MODULE(_otpool, module) {
    using namespace otpool_python;
#ifdef OTPOOL_PYTHON_NEEDS_AVX2
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        throw nb::import_error(
            "this otpool was built for processors with AVX2 and FMA; build another one: see OTPOOL_PYTHON_FLAGS");
    }
#endif
    module.attr("__version__") =
        nb::str("{}.{}.{}").attr("format")(otpool::version_major, otpool::version_minor, otpool::version_patch);
    nb::register_exception_translator(translate);
    bind_solvers(module);
    bind_poolings(module);
    bind_slots(module);
    bind_layers(module);
}
