// Running Python programs that make TorchScript.
#pragma once

#include "data/sample_text.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <string>

namespace shoal::nn::testing_support {

/// Runs a Python program with Debian's interpreter, which has python3-torch, and returns what it printed.
inline std::string python(const std::string& arguments) {
    const auto output = data::testing_support::temporary("python.txt");
    const std::string command = "/usr/bin/python3 " + arguments + " > " + output.string() + " 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << data::testing_support::read_text(output);
    return data::testing_support::read_text(output);
}

}  // namespace shoal::nn::testing_support
