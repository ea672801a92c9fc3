// The program `shoal`: everything that needs no model.
#include <cstdio>

#include "shoal/base/error.h"
#include "shoal/base/memory.h"
#include "shoal/command.h"

int main(int argc, char** argv) {
    shoal::keep_freed_memory();
    using namespace shoal::app;
    try {
        hand_over(argc, argv);
    } catch (const shoal::Error& error) {
        std::fprintf(stderr, "shoal: error: %s\n", error.what());
        return kFailure;
    }
    return run_program(argc, argv,
                       {seed_command(), status_command(), report_command(), doctor_command(), init_command(),
                        key_command(), sim_command(), replica_command()},
                       handed_over());
}
