# Writes the stored results into the READMEs, each between the markers of its name:
#
#     <!-- accuracy: begin -->
#     the text of results/accuracy.md
#     <!-- accuracy: end -->
#
#     cmake -P bench/update_readme.cmake                 # write them
#     cmake -D CHECK=ON -P bench/update_readme.cmake     # fail if a README differs from the results
#
# How each result is made:
#
#     cmake --preset release && cmake --build build/release --target bench/all reproduce learn_pooling place_recognition slots
#     accuracy         build/release/bench/accuracy --output bench/results/accuracy.md
#     compile_time     bench/compile_time --repeats 3 --output
#     cores            build/release/bench/cores_bench, then bench/cores.py; its --help has both commands
#     growth           build/release/bench/growth_bench, then bench/growth.py; likewise
#     learn_pooling    build/release/examples/learn_pooling --seeds 5 --output examples/learn_pooling.png
#                          --table bench/results/learn_pooling.md
#     limits           build/release/bench/layer_bench, then bench/limits.py; likewise
#     peers, speed     bench/peers/compare.py
#     peers_zen5       on a second machine: bench/peers/compare.py --rows '*_layer*' --output build/peers_zen5.json;
#                      only the table is stored
#     place_recognition  build/release/examples/place_recognition --seeds 5 --output examples/place_recognition.png
#                          --table bench/results/place_recognition.md
#     published        the output of build/release/examples/reproduce --published
#     reproduce        the output of build/release/examples/reproduce --output examples/reproduce.png, between ``` lines
#     slot_peers       bench/peers/compare.py --slots --repeats 5
#     slots            the output of build/release/examples/slots --output examples/slots.png, likewise but for its last line
#     stream           the output of build/release/bench/stream build 1000
#     ranks            the output of mpirun -n 2 build/release/bench/ranks
#     train_mil        bench/train_mil.sh FOLDER musk1 elephant fox

cmake_minimum_required(VERSION 3.25)
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH root)

# Text is cut and joined by position: neither regular expressions nor lists see the semicolons and brackets in it.
function(position_of text marker result)
    string(FIND "${text}" "${marker}" first)
    string(FIND "${text}" "${marker}" last REVERSE)
    if(first EQUAL -1)
        message(FATAL_ERROR "${readme} has no line '${marker}'")
    elseif(NOT first EQUAL last)
        message(FATAL_ERROR "${readme} has more than one '${marker}'")
    endif()
    set(${result} ${first} PARENT_SCOPE)
endfunction()

# fill(<readme> <result>...) writes the results into the README, or compares.
function(fill readme)
    file(READ ${root}/${readme} old)
    set(new "${old}")
    foreach(name IN LISTS ARGN)
        file(READ ${root}/bench/results/${name}.md stored)
        set(begin_marker "<!-- ${name}: begin -->")
        set(end_marker "<!-- ${name}: end -->")
        position_of("${new}" "${begin_marker}" begin)
        position_of("${new}" "${end_marker}" end)
        if(end LESS begin)
            message(FATAL_ERROR "${readme} has '${end_marker}' before '${begin_marker}'")
        endif()
        string(LENGTH "${begin_marker}" length)
        math(EXPR begin "${begin} + ${length}")
        string(SUBSTRING "${new}" 0 ${begin} before)
        string(SUBSTRING "${new}" ${end} -1 after)
        string(STRIP "${stored}" stored)
        set(new "${before}\n\n${stored}\n\n${after}")
    endforeach()
    if(new STREQUAL old)
        message(STATUS "${readme} has the stored results")
    elseif(CHECK)
        message(FATAL_ERROR "${readme} differs from bench/results; run: cmake -P bench/update_readme.cmake")
    else()
        file(WRITE ${root}/${readme} "${new}")
        message(STATUS "${readme}: stored results written")
    endif()
endfunction()

fill(README.md speed)
fill(bench/README.md accuracy compile_time cores growth limits peers peers_zen5 ranks slot_peers stream)
fill(examples/README.md learn_pooling place_recognition reproduce slots train_mil)
fill(include/otpool/layer/published.md published)
