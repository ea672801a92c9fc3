// Lines of the live table fit the terminal, whatever is in them.
#include "shoal/lab/live_view.h"

#include <gtest/gtest.h>

namespace shoal::lab {
namespace {

TEST(FitColumns, leaves_what_fits) {
    EXPECT_EQ(fit_columns("twelve chars", 12), "twelve chars");
    EXPECT_EQ(fit_columns("", 12), "");
}

TEST(FitColumns, cuts_at_the_last_column) {
    EXPECT_EQ(fit_columns("twelve chars", 11), "twelve char");
    EXPECT_EQ(fit_columns("twelve chars", 0), "");
}

TEST(FitColumns, counts_a_character_of_several_bytes_as_one_column_and_never_cuts_it) {
    EXPECT_EQ(fit_columns("▁▂▃▄", 3), "▁▂▃");
    EXPECT_EQ(fit_columns("a█b", 2), "a█");
}

TEST(FitColumns, keeps_all_colours_so_that_none_runs_on) {
    EXPECT_EQ(fit_columns("\033[31mred and long\033[0m", 3), "\033[31mred\033[0m");
    EXPECT_EQ(fit_columns("\033[31", 3), "\033[31") << "also a broken one";
}

}  // namespace
}  // namespace shoal::lab
