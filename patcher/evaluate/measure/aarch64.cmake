# A cross build for 64-bit ARM with the distribution's compiler, to be run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# where this distribution keeps the other processor's libraries, the compiler knows
execute_process(COMMAND aarch64-linux-gnu-g++ -print-file-name=ld-linux-aarch64.so.1
    OUTPUT_VARIABLE loader OUTPUT_STRIP_TRAILING_WHITESPACE)
get_filename_component(CMAKE_FIND_ROOT_PATH "${loader}/../.." ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
