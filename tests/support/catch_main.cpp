// main() for a Catch2 2.13 that comes without a compiled one; not used with version 3.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
