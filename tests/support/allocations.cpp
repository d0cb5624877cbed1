#include "support/allocations.hpp"

#include <malloc.h>

#include <cstdlib>

// The linker sends this program's own calls of malloc and free here (-Wl,--wrap=malloc,--wrap=free).

namespace {

struct Counter {
    bool on = false;
    std::size_t large_size = 0, large = 0, total = 0;
    std::ptrdiff_t bytes_held = 0;
} counter;

}  // namespace

#ifdef OTPOOL_WRAP_MALLOC
extern "C" {

void* __real_malloc(std::size_t size);  // NOLINT(bugprone-reserved-identifier)
void __real_free(void* pointer);        // NOLINT(bugprone-reserved-identifier)

void* __wrap_malloc(std::size_t size) {  // NOLINT(bugprone-reserved-identifier)
    void* pointer = __real_malloc(size);
    if (counter.on && pointer != nullptr) {
        ++counter.total;
        if (size >= counter.large_size) ++counter.large;
        counter.bytes_held += static_cast<std::ptrdiff_t>(malloc_usable_size(pointer));
    }
    return pointer;
}

void* __real__Znwm(std::size_t size);  // NOLINT(bugprone-reserved-identifier)
/// operator new, which calls the malloc of another library.
void* __wrap__Znwm(std::size_t size) {  // NOLINT(bugprone-reserved-identifier)
    if (counter.on) ++counter.total;
    return __real__Znwm(size);
}

void __wrap_free(void* pointer) {  // NOLINT(bugprone-reserved-identifier)
    if (counter.on && pointer != nullptr)
        counter.bytes_held -= static_cast<std::ptrdiff_t>(malloc_usable_size(pointer));
    __real_free(pointer);
}

}  // extern "C"
#endif

namespace tests {

Allocations::Allocations(std::size_t large_size) { counter = {.on = true, .large_size = large_size}; }
Allocations::~Allocations() { counter.on = false; }
std::size_t Allocations::large() const { return counter.large; }
std::size_t Allocations::total() const { return counter.total; }
std::size_t Allocations::bytes_held() const { return static_cast<std::size_t>(counter.bytes_held); }

}  // namespace tests
