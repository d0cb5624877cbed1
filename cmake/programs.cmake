# Shared by otpool's own programs (tests, examples, benchmarks): warnings, flags, and libraries that some of them need.
cmake_minimum_required(VERSION 3.22...3.31)

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release) # Eigen without optimisation is a hundred times slower
endif()

set(CMAKE_CXX_EXTENSIONS OFF) # -std=c++20, not gnu++20
set(CMAKE_CXX_SCAN_FOR_MODULES OFF) # there are no modules, and clang would need another tool to look for them

add_library(otpool_program INTERFACE)
target_link_libraries(otpool_program INTERFACE otpool::otpool)
if(NOT MSVC)
    target_compile_options(otpool_program INTERFACE
        -Wall -Wextra -Wpedantic -Wconversion -Wshadow $<$<BOOL:${OTPOOL_WERROR}>:-Werror>)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # gcc 12 warns about its own AVX-512 headers (gcc bug 105593), and about Eigen under the sanitizers.
    target_compile_options(otpool_program INTERFACE -Wno-maybe-uninitialized -Wno-uninitialized)
endif()
if(OTPOOL_NATIVE)
    include(CheckCXXCompilerFlag)
    check_cxx_compiler_flag(-march=native OTPOOL_MARCH_NATIVE)
    if(OTPOOL_MARCH_NATIVE)
        target_compile_options(otpool_program INTERFACE -march=native)
    endif()
endif()

# Libraries that only some programs use. If one is missing, these programs are left out, without an error.
find_package(CLI11 CONFIG QUIET)
find_package(nlohmann_json CONFIG QUIET)
find_package(TBB CONFIG QUIET)
find_package(OpenMP QUIET COMPONENTS CXX)
find_package(benchmark CONFIG QUIET)
find_package(Torch QUIET)
set(MPI_CXX_SKIP_MPICXX ON) # the C interface does
find_package(MPI QUIET COMPONENTS CXX)
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
    pkg_check_modules(cairo QUIET IMPORTED_TARGET cairo)
    pkg_check_modules(libzip QUIET IMPORTED_TARGET libzip)
    pkg_check_modules(hdf5 QUIET IMPORTED_TARGET "hdf5>=1.10.5")
endif()

# otpool_has_libraries(<variable> <name> [<library target>...]) sets the variable to whether all are there that a program needs.
# Says so if not.
function(otpool_has_libraries variable name)
    foreach(library IN LISTS ARGN)
        if(NOT TARGET ${library})
            message(STATUS "otpool: ${name} is left out, it needs ${library} (see cmake/bootstrap.sh --help)")
            set(${variable} OFF PARENT_SCOPE)
            return()
        endif()
    endforeach()
    set(${variable} ON PARENT_SCOPE)
endfunction()

# otpool_add_program(<name> [<library target>...]) builds <name>.cpp, unless a library it needs is missing.
function(otpool_add_program name)
    otpool_has_libraries(complete ${name} ${ARGN})
    if(NOT complete)
        return()
    endif()
    add_executable(${name} ${name}.cpp)
    target_link_libraries(${name} PRIVATE otpool_program ${ARGN})
endfunction()

# otpool_add_run_target(<name> <program>...) makes a target that runs the programs in order, with their output as it comes. It
# skips programs that are left out.
function(otpool_add_run_target name)
    set(commands COMMAND ${CMAKE_COMMAND} -E true) # only a target with a command can use the terminal
    foreach(program IN LISTS ARGN)
        if(TARGET ${program})
            list(APPEND commands COMMAND ${CMAKE_COMMAND} -E echo "--- ${program}" COMMAND ${program})
        endif()
    endforeach()
    add_custom_target(${name} ${commands} COMMENT "Running ${name}" USES_TERMINAL VERBATIM)
endfunction()
