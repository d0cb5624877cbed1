# Fails unless the first ```cpp block of README after the line SECTION is SOURCE, or with -D EXCERPT=ON a part of it, and the
# ```text block after it is the output of PROGRAM, both character for character. Run as
#     cmake -D README=... -D SECTION=... -D SOURCE=... -D PROGRAM=... -P readme_test.cmake

# Sets `block` to the text of the first fenced block in that language and cuts `readme` off after it.
macro(take_block language)
    string(FIND "${readme}" "\n```${language}\n" begin)
    if(begin EQUAL -1)
        message(FATAL_ERROR "${README} has no ```${language} block after '${SECTION}'")
    endif()
    string(LENGTH "\n```${language}\n" fence)
    math(EXPR begin "${begin} + ${fence}")
    string(SUBSTRING "${readme}" ${begin} -1 readme)
    string(FIND "${readme}" "```" end)
    string(SUBSTRING "${readme}" 0 ${end} block)
    string(SUBSTRING "${readme}" ${end} -1 readme)
endmacro()

function(fail what text)
    message(FATAL_ERROR "${what} differs from the README.\n--- README\n${block}--- ${what}\n${text}---")
endfunction()

file(READ ${README} readme)
file(READ ${SOURCE} source)
string(FIND "${readme}" "${SECTION}\n" begin)
if(begin EQUAL -1)
    message(FATAL_ERROR "${README} has no line '${SECTION}'")
endif()
string(SUBSTRING "${readme}" ${begin} -1 readme)
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)

take_block(cpp)
if(EXCERPT)
    string(FIND "${source}" "\n${block}" found)
    if(found EQUAL -1)
        fail(${SOURCE} "${source}")
    endif()
elseif(NOT source STREQUAL block)
    fail(${SOURCE} "${source}")
endif()
take_block(text)
if(NOT output STREQUAL block)
    fail("the output of ${PROGRAM}" "${output}")
endif()
