# Writes the stored results into the README, between the markers of their name:
#
#     <!-- accuracy: begin -->
#     what results/accuracy.md says
#     <!-- accuracy: end -->
#
#     cmake --build build/release --target bench/all                      # then store new results:
#     build/release/bench/accuracy --output bench/results/accuracy.md
#     build/release/examples/learn_pooling --seeds 5 --output examples/learn_pooling.png --table bench/results/learn_pooling.md
#     what reproduce and reproduce --published print, in published.md and reproduce.md
#     bench/train_mil.sh FOLDER musk1 elephant fox
#     bench/peers/compare.py, and on a second machine, of which the table alone is stored,
#     bench/peers/compare.py --rows '*_layer*' --output build/peers_zen5.json
#     build/release/bench/growth_bench --benchmark_out=build/growth.json --benchmark_out_format=json, and
#     bench/growth.py build/growth.json
#     build/release/bench/layer_bench, and bench/limits.py, as that says
#     build/release/bench/cores_bench, and bench/cores.py, as that says
#     cmake -P bench/update_readme.cmake                                  # put them into the README
#     cmake -D CHECK=ON -P bench/update_readme.cmake                      # fail if the README says something else
#
# -D README=<file> names another file than the README beside this folder.

cmake_minimum_required(VERSION 3.25)

set(results accuracy cores growth learn_pooling limits peers peers_zen5 published reproduce train_mil)
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH root)
if(NOT DEFINED README)
    set(README ${root}/README.md)
endif()
if(NOT EXISTS ${README})
    message(FATAL_ERROR "${README} does not exist")
endif()

# Text is cut and joined by position: neither regular expressions nor lists see the semicolons and brackets in it.
function(position_of text marker result)
    string(FIND "${text}" "${marker}" first)
    string(FIND "${text}" "${marker}" last REVERSE)
    if(first EQUAL -1)
        message(FATAL_ERROR "${README} has no line '${marker}'")
    elseif(NOT first EQUAL last)
        message(FATAL_ERROR "${README} has more than one '${marker}'")
    endif()
    set(${result} ${first} PARENT_SCOPE)
endfunction()

file(READ ${README} old)
set(new "${old}")
foreach(name IN LISTS results)
    file(READ ${CMAKE_CURRENT_LIST_DIR}/results/${name}.md stored)
    set(begin_marker "<!-- ${name}: begin -->")
    set(end_marker "<!-- ${name}: end -->")
    position_of("${new}" "${begin_marker}" begin)
    position_of("${new}" "${end_marker}" end)
    if(end LESS begin)
        message(FATAL_ERROR "${README} has '${end_marker}' before '${begin_marker}'")
    endif()
    string(LENGTH "${begin_marker}" length)
    math(EXPR begin "${begin} + ${length}")
    string(SUBSTRING "${new}" 0 ${begin} before)
    string(SUBSTRING "${new}" ${end} -1 after)
    string(STRIP "${stored}" stored)
    set(new "${before}\n\n${stored}\n\n${after}")
endforeach()

if(new STREQUAL old)
    message(STATUS "${README} says what bench/results says")
elseif(CHECK)
    message(FATAL_ERROR "${README} differs from bench/results; run: cmake -P bench/update_readme.cmake")
else()
    file(WRITE ${README} "${new}")
    message(STATUS "${README} updated from bench/results")
endif()
