// otpool throws exceptions: compile the files that include it without -fno-exceptions
// -fno-exceptions
#include "otpool/learning.hpp"
