// What tests of experiments in network namespaces share.
#pragma once

#include <algorithm>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

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

/// Of a result's demands those that mention one of these words: there are so many, and all are met. For what
/// does not depend on how busy the machine is.
inline void expect_met(const nlohmann::json& result, const std::vector<std::string>& words,
                       std::size_t number) {
    std::size_t checked = 0;
    for (const nlohmann::json& demand : result.at("demands")) {
        const std::string what = demand.at("what").get<std::string>();
        const auto is_in = [&what](const std::string& word) { return what.find(word) != std::string::npos; };
        if (std::none_of(words.begin(), words.end(), is_in)) continue;
        EXPECT_TRUE(demand.at("met").get<bool>()) << demand;
        ++checked;
    }
    EXPECT_EQ(checked, number);
}

}  // namespace shoal::lab
