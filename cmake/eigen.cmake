# Eigen3::Eigen, 3.4 or later: that of the including project if there is one, else the system's, else fetched.
#
# find_package gets no version, because Eigen's version files accept only their own major version: Eigen 5 would refuse a
# request for 3.4.
if(NOT TARGET Eigen3::Eigen)
    find_package(Eigen3 CONFIG QUIET)
    if(Eigen3_FOUND AND Eigen3_VERSION VERSION_LESS 3.4)
        message(FATAL_ERROR "otpool needs Eigen 3.4 or later, found ${Eigen3_VERSION} in ${Eigen3_DIR}. "
            "Set Eigen3_DIR to another one, or CMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON to fetch it.")
    endif()
endif()

if(NOT TARGET Eigen3::Eigen)
    if(CMAKE_VERSION VERSION_LESS 3.18)
        message(FATAL_ERROR "otpool: Eigen 3.4 or later not found; CMake 3.18 or later would fetch it")
    endif()
    message(STATUS "otpool: Eigen not found, fetching 3.4.0 (cmake/bootstrap.sh installs it)")
    include(FetchContent)
    FetchContent_Declare(eigen
        GIT_REPOSITORY https://gitlab.com/libeigen/eigen.git
        GIT_TAG 3.4.0
        GIT_SHALLOW TRUE
        SOURCE_SUBDIR headers-only) # no such folder: Eigen's own build would add a thousand targets and its install rules
    FetchContent_MakeAvailable(eigen)
    FetchContent_GetProperties(eigen)

    # Imported, so that its headers are system headers and otpool can still be exported: an installed otpool looks for
    # its own Eigen (cmake/otpoolConfig.cmake.in).
    add_library(Eigen3::Eigen INTERFACE IMPORTED GLOBAL)
    set_target_properties(Eigen3::Eigen PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${eigen_SOURCE_DIR})
endif()
