# Fails unless a library that has otpool by add_subdirectory, links it publicly and exports itself can be configured, installed
# and used, with an Eigen that it does not export, by CMake 3.16 and later. Run as
#     cmake -D ROOT=<the project> -D WORK=<a folder> -D EIGEN=<its include folder> -D Eigen3_DIR=... -D CXX=... -P export_test.cmake

cmake_minimum_required(VERSION 3.16)
file(STRINGS ${ROOT}/CMakeLists.txt first LIMIT_COUNT 1)
if(NOT first MATCHES "^cmake_minimum_required\\(VERSION 3\\.16\\.\\.\\.")
    message(FATAL_ERROR "CMakeLists.txt asks for more than CMake 3.16: ${first}")
endif()

include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK})
file(WRITE ${WORK}/library/CMakeLists.txt "
cmake_minimum_required(VERSION 3.16)
project(library LANGUAGES CXX)
add_library(eigen INTERFACE)
target_include_directories(eigen INTERFACE \"${EIGEN}\")
add_library(Eigen3::Eigen ALIAS eigen)
add_subdirectory(\"${ROOT}\" otpool)
add_library(library INTERFACE)
target_link_libraries(library INTERFACE otpool::otpool)
install(TARGETS library EXPORT library)
install(EXPORT library DESTINATION share/cmake/library)
file(WRITE \${CMAKE_BINARY_DIR}/libraryConfig.cmake \"
include(CMakeFindDependencyMacro)
find_dependency(otpool)
include(\\\${CMAKE_CURRENT_LIST_DIR}/library.cmake)\")
install(FILES \${CMAKE_BINARY_DIR}/libraryConfig.cmake DESTINATION share/cmake/library)
")
file(WRITE ${WORK}/program/CMakeLists.txt "
cmake_minimum_required(VERSION 3.16)
project(program LANGUAGES CXX)
find_package(library REQUIRED)
add_executable(program main.cpp)
target_link_libraries(program PRIVATE library)
")
file(WRITE ${WORK}/program/main.cpp "
#include <otpool/core/matrix.hpp>
int main() { return static_cast<int>(otpool::RealMatrix::Zero(1, 1)(0, 0)); }
")

set(prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} -E make_directory ${WORK}/library/build ${WORK}/program/build)
run(${CMAKE_COMMAND} -S ${WORK}/library -B ${WORK}/library/build -D CMAKE_CXX_COMPILER=${CXX})
run(${CMAKE_COMMAND} --install ${WORK}/library/build --prefix ${prefix})
if(EXISTS ${prefix}/include/otpool)
    message(FATAL_ERROR "a project that has otpool in it installs otpool, unasked")
endif()
run(${CMAKE_COMMAND} --install ${WORK}/library/build --prefix ${prefix} --component otpool)
run(${CMAKE_COMMAND} -S ${WORK}/program -B ${WORK}/program/build -D CMAKE_CXX_COMPILER=${CXX}
    -D CMAKE_PREFIX_PATH=${prefix} -D Eigen3_DIR=${Eigen3_DIR})
run(${CMAKE_COMMAND} --build ${WORK}/program/build)
