# Flags and the two functions every room and test uses.

add_library(octavo_flags INTERFACE)
# -ffp-contract=off: a scale or a quotient must be rounded where the source says, never fused (docs/numerics.md).
target_compile_options(octavo_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -ffp-contract=off -fno-math-errno)
# GCC 12 invents overflows in std::string and std::optional once it has inlined them (GCC bugs 105329, 105651, 80635);
# clang, the sanitizers and newer GCCs keep watch over what these would find.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(octavo_flags INTERFACE
    -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds -Wno-maybe-uninitialized)
endif()
target_include_directories(octavo_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_link_libraries(octavo_flags INTERFACE Threads::Threads fmt::fmt)
if(OCTAVO_SANITIZE)
  target_compile_options(octavo_flags INTERFACE
    -fsanitize=${OCTAVO_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(octavo_flags INTERFACE -fsanitize=${OCTAVO_SANITIZE})
endif()
if(OCTAVO_FUZZ)
  target_compile_options(octavo_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# octavo_room(NAME [DEPS room...]): library octavo_NAME from octavo/NAME/**.cc. DEPS name only rooms below it;
# tests/layering_test.py checks the #include lines.
function(octavo_room name)
  cmake_parse_arguments(ROOM "" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/octavo/${name}/*.cc)
  add_library(octavo_${name} STATIC ${sources})
  target_link_libraries(octavo_${name} PUBLIC octavo_flags ${ROOM_DEPS})
  # Fit for the shared library and the Python module; hidden, a call inside a room stays as direct as in a program.
  set_target_properties(octavo_${name} PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  foreach(source ${sources})
    # Only files named for an ISA get its flags, and all they define is in that ISA's namespace.
    if(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mprfchw")
    elseif(source MATCHES "_avx512_bf16\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vbmi;-mavx512bf16;-mf16c;-mprfchw")
    elseif(source MATCHES "_amx\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vbmi;-mf16c;-mprfchw;-mamx-tile;-mamx-bf16")
    elseif(source MATCHES "_avx512\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mf16c;-mprfchw")
    endif()
  endforeach()
endfunction()

# octavo_pch(TARGET header...): precompiled headers, where the same heavy headers stand in many files.
function(octavo_pch target)
  target_precompile_headers(${target} PRIVATE ${ARGN})
endfunction()
