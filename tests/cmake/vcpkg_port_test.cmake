# Fails unless the vcpkg port installs a package that a program finds by its version, and no version that it is not. vcpkg itself
# is not needed: its functions are written here, as their documentation says what they do. Run as
#     cmake -D ROOT=<the project> -D WORK=<a folder> -D VERSION=<otpool's> -D CXX=... -D Eigen3_DIR=... -P vcpkg_port_test.cmake

cmake_minimum_required(VERSION 3.19) # string(JSON)
set(port ${ROOT}/cmake/packaging/vcpkg/otpool)
set(CURRENT_PACKAGES_DIR ${WORK}/prefix)
file(REMOVE_RECURSE ${WORK})

include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

function(vcpkg_cmake_configure)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
    run(${CMAKE_COMMAND} -S ${arg_SOURCE_PATH} -B ${WORK}/build -D CMAKE_CXX_COMPILER=${CXX} -D Eigen3_DIR=${Eigen3_DIR}
        -D CMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR} ${arg_OPTIONS})
endfunction()
function(vcpkg_cmake_install)
    run(${CMAKE_COMMAND} --build ${WORK}/build --target install)
endfunction()
function(vcpkg_cmake_config_fixup) # moves the package to share/<name>, and the prefix that it knows with it
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "CONFIG_PATH" "")
    file(RENAME ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH} ${WORK}/package)
    file(RENAME ${WORK}/package ${CURRENT_PACKAGES_DIR}/share/otpool)
    set(targets ${CURRENT_PACKAGES_DIR}/share/otpool/otpoolTargets.cmake)
    set(parent "get_filename_component(_IMPORT_PREFIX \"\${_IMPORT_PREFIX}\" PATH)\n")
    file(READ ${targets} text)
    string(REPLACE "${parent}${parent}${parent}" "${parent}${parent}" text "${text}")
    file(WRITE ${targets} "${text}")
endfunction()
function(vcpkg_fixup_pkgconfig)
endfunction()
function(vcpkg_install_copyright)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
    file(COPY ${arg_FILE_LIST} DESTINATION ${CURRENT_PACKAGES_DIR}/share/otpool)
endfunction()

file(READ ${port}/vcpkg.json manifest)
string(JSON port_version GET ${manifest} version)
if(NOT port_version STREQUAL VERSION)
    message(FATAL_ERROR "vcpkg.json is of version ${port_version}, core/version.hpp of ${VERSION}")
endif()
include(${port}/portfile.cmake)

# Whether a program that asks for this version finds the package.
function(finds version result)
    file(WRITE ${WORK}/program/CMakeLists.txt "
cmake_minimum_required(VERSION 3.16)
project(program LANGUAGES CXX)
find_package(otpool ${version} QUIET)
get_target_property(folders otpool::otpool INTERFACE_INCLUDE_DIRECTORIES)
if(NOT otpool_FOUND OR NOT EXISTS \${folders}/otpool/otpool.hpp)
    message(FATAL_ERROR not-found)
endif()")
    file(REMOVE_RECURSE ${WORK}/program/build)
    execute_process(COMMAND ${CMAKE_COMMAND} -S ${WORK}/program -B ${WORK}/program/build -D CMAKE_CXX_COMPILER=${CXX}
            -D Eigen3_DIR=${Eigen3_DIR} -D otpool_DIR=${CURRENT_PACKAGES_DIR}/share/otpool
        RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(failed EQUAL 0)
        set(${result} TRUE PARENT_SCOPE)
    else()
        set(${result} FALSE PARENT_SCOPE)
    endif()
endfunction()

string(REGEX MATCH "^([0-9]+)\\.([0-9]+)" minor_version ${VERSION})
math(EXPR next_minor "${CMAKE_MATCH_2} + 1")
foreach(version "" ${minor_version} ${VERSION})
    finds("${version}" found)
    if(NOT found)
        message(FATAL_ERROR "find_package(otpool ${version}) does not find ${VERSION}")
    endif()
endforeach()
foreach(version ${CMAKE_MATCH_1}.${next_minor} 99.0)
    finds(${version} found)
    if(found)
        message(FATAL_ERROR "find_package(otpool ${version}) finds ${VERSION}")
    endif()
endforeach()
