// Pictures of results.
#include "shoal/run/result.h"

#include "run/temporary_folder.h"

#include <gtest/gtest.h>

namespace shoal::run {
namespace {

Picture picture(const std::string& name) {
    Picture one{name + " title", name + " x", name + " y", {}, {}};
    one.curves.push_back({name + " curve", {0, 1, 2}, {1, 3, 2}});
    return one;
}

TEST(Picture, SeveralStandInOneFileEachWithItsOwnMarks) {
    const TemporaryFolder folder;
    Picture first = picture("first"), second = picture("second");
    first.marks.push_back({0.5, "marked"});
    draw({first, second}, folder / "both.svg");
    const std::string both = read_whole(folder / "both.svg");
    for (const char* words : {"first title", "first curve", "second title", "second x", "second curve"})
        EXPECT_NE(both.find(words), std::string::npos) << words;
    const std::size_t mark = both.find("marked");
    ASSERT_NE(mark, std::string::npos);
    EXPECT_EQ(both.find("marked", mark + 1), std::string::npos);
}

TEST(Picture, OfOneIsThatOne) {
    const TemporaryFolder folder;
    draw(picture("only"), folder / "one.svg");
    EXPECT_NE(read_whole(folder / "one.svg").find("only title"), std::string::npos);
}

}  // namespace
}  // namespace shoal::run
