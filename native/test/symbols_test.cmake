# SPDX-License-Identifier: GPL-3.0-or-later
# cmake -DPLUGIN=… -DNODE_LIBRARY=… -DNM=… -DREADELF=… -P symbols_test.cmake: what the library shows to, and shares with, Orthanc's process.
function(defined_symbols file result)
  execute_process(COMMAND "${NM}" -D --defined-only --format=posix "${file}"
    OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "(^|\n)[^ \n]+" names "${lines}")
  list(TRANSFORM names STRIP)
  set(${result} "${names}" PARENT_SCOPE)
endfunction()

defined_symbols("${PLUGIN}" exported)
list(TRANSFORM exported REPLACE "@.*" "")
list(SORT exported)
set(expected OrthancPluginFinalize OrthancPluginGetName OrthancPluginGetVersion OrthancPluginInitialize)
if(NOT exported STREQUAL expected)
  message(FATAL_ERROR "${PLUGIN} must export ${expected}, and does export ${exported}")
endif()

# V8 can't be set up twice in a process.
execute_process(COMMAND "${READELF}" -d "${PLUGIN}" OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
if(NOT dynamic MATCHES "NODELETE")
  message(FATAL_ERROR "${PLUGIN} can be unloaded: it lacks -z nodelete")
endif()

# A libnode with an OpenSSL or a zlib of its own would collide with Orthanc's in one process.
defined_symbols("${NODE_LIBRARY}" of_node)
list(LENGTH of_node count)
if(count LESS 1000)
  message(FATAL_ERROR "${NODE_LIBRARY}: only ${count} symbols were found")
endif()
list(FILTER of_node INCLUDE REGEX "^(SSL_|EVP_|inflate|deflate|sqlite3_|uv_loop_)")
if(of_node)
  message(FATAL_ERROR "${NODE_LIBRARY} defines what Orthanc's process has already: ${of_node}")
endif()
