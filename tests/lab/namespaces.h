// What tests of experiments in network namespaces share.
#pragma once

#include <gtest/gtest.h>
#include <string>

#include "shoal/base/error.h"
#include "shoal/lab/shaped_lines.h"

namespace shoal::lab {

/// Without the right to make namespaces only the message can be tested: it must say what to do.
inline bool may_make_namespaces() {
    try {
        const NetworkNamespace probe;
        return true;
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("sudo"), std::string::npos) << error.what();
        return false;
    }
}

}  // namespace shoal::lab
