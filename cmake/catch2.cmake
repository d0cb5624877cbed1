# otpool_catch: Catch2 with its main(), version 3, or 2.13 as on Debian 12. Tests include "support/catch.hpp", which hides
# the difference.
find_package(Catch2 CONFIG QUIET)
if(NOT TARGET Catch2::Catch2)
    message(STATUS "otpool: Catch2 not found, fetching 3.7.1 (cmake/bootstrap.sh installs it)")
    include(FetchContent)
    set(system "")
    if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.25)
        set(system SYSTEM)
    endif()
    FetchContent_Declare(Catch2
        GIT_REPOSITORY https://github.com/catchorg/Catch2.git
        GIT_TAG v3.7.1
        GIT_SHALLOW TRUE
        ${system})
    FetchContent_MakeAvailable(Catch2)
    list(APPEND CMAKE_MODULE_PATH ${Catch2_SOURCE_DIR}/extras)
endif()
include(Catch) # catch_discover_tests

if(TARGET Catch2::Catch2WithMain)
    add_library(otpool_catch INTERFACE)
    target_link_libraries(otpool_catch INTERFACE Catch2::Catch2WithMain)
else()
    add_library(otpool_catch STATIC support/catch_main.cpp)
    target_link_libraries(otpool_catch PUBLIC Catch2::Catch2)
    target_compile_features(otpool_catch PUBLIC cxx_std_20)
endif()
