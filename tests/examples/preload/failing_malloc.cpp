// A library to start `pool` with (LD_PRELOAD): from main() on, allocation number OTPOOL_FAILING_ALLOCATION fails, as if there
// were no memory. Beyond the last one it does nothing. For glibc.

#include <dlfcn.h>
#include <errno.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <string_view>

extern "C" {

void* __libc_malloc(std::size_t size);                     // NOLINT(bugprone-reserved-identifier)
void* __libc_calloc(std::size_t count, std::size_t size);  // NOLINT(bugprone-reserved-identifier)
void* __libc_realloc(void* pointer, std::size_t size);     // NOLINT(bugprone-reserved-identifier)

}  // extern "C"

namespace {

using Main = int (*)(int, char**, char**);

std::atomic<long> left = 0;  // until the allocation that fails, which is 1; 0 for none
Main real_main = nullptr;

bool fails() { return left.load() > 0 && left.fetch_sub(1) == 1; }

void* unless_failing(void* (*allocate)(void*, std::size_t, std::size_t), void* pointer, std::size_t count,
                     std::size_t size) {
    if (!fails()) return allocate(pointer, count, size);
    errno = ENOMEM;
    return nullptr;
}

int armed_main(int argc, char** argv, char** environment) {
    const char* const number = std::getenv("OTPOOL_FAILING_ALLOCATION");
    // The shell that starts the program gets this library, too.
    if (number != nullptr && std::string_view(argv[0]).ends_with("/pool")) left = std::atol(number);
    return real_main(argc, argv, environment);
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) {
    return unless_failing([](void*, std::size_t, std::size_t bytes) { return __libc_malloc(bytes); }, nullptr, 1, size);
}
void* calloc(std::size_t count, std::size_t size) {
    return unless_failing([](void*, std::size_t n, std::size_t bytes) { return __libc_calloc(n, bytes); }, nullptr,
                          count, size);
}
void* realloc(void* pointer, std::size_t size) {
    return unless_failing([](void* old, std::size_t, std::size_t bytes) { return __libc_realloc(old, bytes); }, pointer,
                          1, size);
}

// NOLINTNEXTLINE(bugprone-reserved-identifier)
int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(), void (*at_exit)(),
                      void* stack_end) {
    real_main = main;
    using Start = int (*)(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);
    const auto start = reinterpret_cast<Start>(dlsym(RTLD_NEXT, "__libc_start_main"));
    return start(armed_main, argc, argv, init, fini, at_exit, stack_end);
}

}  // extern "C"
