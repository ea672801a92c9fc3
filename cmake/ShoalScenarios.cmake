# Puts scenarios/*.toml into the library shoal_sim, so that `shoal sim NAME` needs no file.
file(GLOB scenarios CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/scenarios/*.toml)
set(list "")
foreach(scenario ${scenarios})
  get_filename_component(name ${scenario} NAME_WE)
  file(READ ${scenario} toml)
  string(APPEND list "        {\"${name}\", R\"toml(${toml})toml\"},\n")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${scenario})
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/ready_scenarios.cpp CONTENT [[
#include "shoal/sim/scenario.h"

namespace shoal::sim {

const std::vector<ReadyScenario>& ready_scenarios() {
    static const std::vector<ReadyScenario> all{
@list@    };
    return all;
}

}  // namespace shoal::sim
]] @ONLY)
target_sources(shoal_sim PRIVATE ${CMAKE_BINARY_DIR}/generated/ready_scenarios.cpp)
