#pragma once

#include <gtest/gtest.h>
#include <string>

#include "shoal/base/error.h"

/// The call throws a shoal::Error of that kind whose text has both words.
template <typename Call>
void expect_error(Call call, shoal::ErrorKind kind, const std::string& first,
                  const std::string& second = {}) {
    try {
        call();
        ADD_FAILURE() << "no error, expected one about " << first;
    } catch (const shoal::Error& error) {
        EXPECT_EQ(shoal::to_string(error.kind()), shoal::to_string(kind)) << error.what();
        EXPECT_NE(std::string(error.what()).find(first), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find(second), std::string::npos) << error.what();
    }
}
