// The program `shoal-torch`: the sub-commands that need a model. Users call them through `shoal`.
#include "shoal/command.h"

int main(int argc, char** argv) {
    using namespace shoal::app;
    std::vector<Command> commands;
#ifdef SHOAL_COMMAND_TRAIN
    commands.push_back(train_command());
#endif
#ifdef SHOAL_COMMAND_LAB
    commands.push_back(lab_command());
#endif
#ifdef SHOAL_COMMAND_BENCH
    commands.push_back(bench_command());
#endif
    return run_program(argc, argv, commands, {});
}
