# Compiler settings that every target shares.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(LLD NAMES ld.lld)
if(LLD)
  add_link_options(-fuse-ld=lld)
endif()

add_library(shoal_options INTERFACE)
target_compile_options(shoal_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror
  -ffp-contract=off  # the same bits on every machine (ARCHITECTURE.md, 'Same bits')
)
target_compile_definitions(shoal_options INTERFACE
  ASIO_STANDALONE ASIO_NO_DEPRECATED ASIO_HAS_CO_AWAIT=1 ASIO_HAS_STD_COROUTINE=1
  # Asio decides this by whether a standard header happens to come before its own: files would disagree on how memory is freed.
  ASIO_HAS_STD_ALIGNED_ALLOC=1)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(shoal_options INTERFACE -Wno-missing-braces -Wno-deprecated-declarations)
endif()
if(SHOAL_SANITIZE)
  add_compile_options(-fsanitize=${SHOAL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SHOAL_SANITIZE})
endif()
if(SHOAL_BUILD_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)  # the rooms tell libFuzzer which branches an input took
endif()

# shoal_precompile(TARGET): what most files include. Only where SHOAL_PRECOMPILE_HEADERS asks for it: without, the compiler finds
# out whether every file includes what it uses.
function(shoal_precompile target)
  if(SHOAL_PRECOMPILE_HEADERS)
    target_precompile_headers(${target} PRIVATE
      <algorithm> <chrono> <functional> <map> <memory> <optional> <random> <span> <string> <vector>
      <asio/awaitable.hpp> <asio/co_spawn.hpp> <asio/experimental/awaitable_operators.hpp> <asio/io_context.hpp>
      <asio/redirect_error.hpp> <asio/steady_timer.hpp> <asio/use_awaitable.hpp> ${ARGN})
  endif()
endfunction()
