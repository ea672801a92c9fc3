#include "shoal/base/bytes.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"

namespace shoal {
namespace {

TEST(Hex, WritesTwoLowerCaseDigitsForEachByte) {
    EXPECT_EQ(to_hex(Bytes{0x00, 0x0f, 0xa5, 0xff}), "000fa5ff");
    EXPECT_EQ(to_hex({}), "");
}

TEST(Hex, ReadsBothCases) {
    EXPECT_EQ(from_hex("0fA5ff"), (Bytes{0x0f, 0xa5, 0xff}));
}

TEST(Hex, RefusesAnOddLengthAndForeignCharacters) {
    for (const char* text : {"0", "abc", "0g", "g0", "  ", "0x", "\xff\xff"}) {
        try {
            from_hex(text);
            FAIL() << "accepted '" << text << "'";
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        }
    }
}

RC_GTEST_PROP(Hex, BringsBackWhatItWrote, (const Bytes& bytes)) {
    RC_ASSERT(from_hex(to_hex(bytes)) == bytes);
}

TEST(Views, ShowATextAndNumbersWithoutACopy) {
    const std::string text = "shoal";
    EXPECT_EQ(as_bytes(text).data(), reinterpret_cast<const std::uint8_t*>(text.data()));
    EXPECT_EQ(as_text(as_bytes(text)), text);
    EXPECT_EQ(to_bytes(text), (Bytes{'s', 'h', 'o', 'a', 'l'}));

    const std::vector<std::uint32_t> numbers{1, 0x01020304};
    const ByteView view = as_bytes(std::span<const std::uint32_t>(numbers));
    EXPECT_EQ(Bytes(view.begin(), view.end()), (Bytes{1, 0, 0, 0, 4, 3, 2, 1}));
}

}  // namespace
}  // namespace shoal
