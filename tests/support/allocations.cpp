#include "support/allocations.hpp"

#include <malloc.h>

#include <cstdlib>
#include <new>

// The linker sends this program's own calls of malloc, free, operator new and operator delete here (-Wl,--wrap=malloc).

namespace {

struct Counter {
    bool on = false;
    std::size_t large_size = 0, large = 0, total = 0;
    std::ptrdiff_t bytes_held = 0;
    std::size_t failing = 0;  ///< Which allocation from now on fails: 1 is the next, 0 none.
    bool failed = false;
    std::ptrdiff_t blocks_held = 0;
} counter;

#ifdef OTPOOL_WRAP_MALLOC
/// Whether this allocation is to fail.
bool fails() {
    if (!counter.on || counter.failing == 0 || --counter.failing > 0) return false;
    return counter.failed = true;
}
void count_blocks(std::ptrdiff_t change) {
    if (counter.on) counter.blocks_held += change;
}
#endif

}  // namespace

#ifdef OTPOOL_WRAP_MALLOC
extern "C" {

void* __real_malloc(std::size_t size);  // NOLINT(bugprone-reserved-identifier)
void __real_free(void* pointer);        // NOLINT(bugprone-reserved-identifier)

void* __wrap_malloc(std::size_t size) {  // NOLINT(bugprone-reserved-identifier)
    if (fails()) return nullptr;
    void* pointer = __real_malloc(size);
    count_blocks(1);
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
    if (fails()) throw std::bad_alloc();
    if (counter.on) ++counter.total;
    count_blocks(1);
    return __real__Znwm(size);
}

void __real__ZdlPv(void* pointer);  // NOLINT(bugprone-reserved-identifier)
/// operator delete
void __wrap__ZdlPv(void* pointer) {  // NOLINT(bugprone-reserved-identifier)
    if (pointer != nullptr) count_blocks(-1);
    __real__ZdlPv(pointer);
}
void __real__ZdlPvm(void* pointer, std::size_t size);  // NOLINT(bugprone-reserved-identifier)
/// operator delete of a block whose size is known
void __wrap__ZdlPvm(void* pointer, std::size_t size) {  // NOLINT(bugprone-reserved-identifier)
    if (pointer != nullptr) count_blocks(-1);
    __real__ZdlPvm(pointer, size);
}

void __wrap_free(void* pointer) {  // NOLINT(bugprone-reserved-identifier)
    if (pointer != nullptr) count_blocks(-1);
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

FailingAllocation::FailingAllocation(std::size_t number) { counter = {.on = true, .failing = number}; }
FailingAllocation::~FailingAllocation() { counter.on = false; }
bool FailingAllocation::failed() const { return counter.failed; }
std::ptrdiff_t FailingAllocation::blocks_held() const { return counter.blocks_held; }

}  // namespace tests
