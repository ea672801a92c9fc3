# A test, run by ctest: cmake -D BUILD=... -D SOURCE=... -D COMPILER=... -P InstallAndUse.cmake
set(work ${BUILD}/package-test)
file(REMOVE_RECURSE ${work})

function(step)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${result}): ${command}")
  endif()
endfunction()

step(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/prefix)
step(${CMAKE_COMMAND} -S ${SOURCE}/examples/average -B ${work}/example -G Ninja
     -D CMAKE_DISABLE_FIND_PACKAGE_Torch=ON  # the component core does without
     -D CMAKE_PREFIX_PATH=${work}/prefix -D CMAKE_CXX_COMPILER=${COMPILER} -D CMAKE_BUILD_TYPE=Release)
step(${CMAKE_COMMAND} --build ${work}/example)
step(${CMAKE_CTEST_COMMAND} --test-dir ${work}/example --output-on-failure --no-tests=error)
