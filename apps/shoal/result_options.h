// The flags that every experiment and benchmark has.
#pragma once

#include <CLI/CLI.hpp>

#include "shoal/run/result.h"

namespace shoal::app {

inline void add_result_options(CLI::App& app, run::ResultOptions& result) {
    app.add_option("--json", result.json, "Write the result to this file");
    app.add_option("--plot", result.plot, "Write a picture to this file, .png or .svg");
    app.add_flag("--check", result.check,
                 "Hold the result against what is demanded: a line each, exit code 1 where one is short");
    app.add_flag("--quick", result.quick, "A small size that ends within a minute");
}

}  // namespace shoal::app
