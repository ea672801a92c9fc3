// What tests need to know of a codec beyond its interface.
#pragma once

#include <cctype>
#include <string>
#include <string_view>

#include "shoal/compress/codec.h"

namespace shoal::test {

/// A codec's name as part of a test's name.
inline std::string identifier_of(std::string_view codec) {
    std::string result;
    for (const char c : codec) result += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
    return result;
}

}  // namespace shoal::test
