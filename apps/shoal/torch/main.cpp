// The program `shoal-torch`: the sub-commands that need a model. Users call them through `shoal`.
#include "shoal/base/memory.h"
#include "shoal/command.h"

int main(int argc, char** argv) {
    shoal::keep_freed_memory();
    using namespace shoal::app;
    return run_program(argc, argv, {train_command(), probe_command(), lab_command(), bench_command()}, {});
}
