# The target docs: Doxygen makes the reference of the API from the comments in the headers, in <build>/docs/html. It needs no
# network: formulas are text. Every warning is an error, and so is a public type, function or member without a comment.
find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
    message(STATUS "otpool: the target docs is left out, it needs Doxygen (cmake/bootstrap.sh --with-ci installs it)")
    return()
endif()

set(DOXYGEN_PROJECT_BRIEF "${PROJECT_DESCRIPTION}")
set(DOXYGEN_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/docs)
set(DOXYGEN_FILE_PATTERNS *.hpp *.md)
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE ${PROJECT_SOURCE_DIR}/include/otpool/README.md)
set(DOXYGEN_STRIP_FROM_PATH ${PROJECT_SOURCE_DIR}/include)
set(DOXYGEN_STRIP_FROM_INC_PATH ${PROJECT_SOURCE_DIR}/include)

# Links that leave include/otpool would lead nowhere; only their text stays.
set(DOXYGEN_FILTER_PATTERNS "*.md=sed -E 's|[[]([^]]*)[]][(]([.][.]/)+[^)]*[)]|\\1|g'")

# Not for users.
set(DOXYGEN_EXCLUDE_SYMBOLS otpool::detail otpool::detail::* otpool::*::detail otpool::*::detail::*)
set(DOXYGEN_EXTRACT_LOCAL_CLASSES NO)

set(DOXYGEN_QUIET YES)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
set(DOXYGEN_WARN_NO_PARAMDOC NO)

# The first sentence of a comment is the short description.
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_BUILTIN_STL_SUPPORT YES)
set(DOXYGEN_SORT_MEMBER_DOCS NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_CLASS_GRAPH NO)
set(DOXYGEN_GENERATE_LATEX NO)
set(DOXYGEN_HTML_TIMESTAMP NO)
set(DOXYGEN_GENERATE_TREEVIEW YES)
set(DOXYGEN_DISABLE_INDEX NO)

doxygen_add_docs(docs ${PROJECT_SOURCE_DIR}/include/otpool COMMENT "Writing the reference of the API to docs/html")
