// What a value of a run file may be: checks that say in words what is wrong with it, for the table in
// schema.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "shoal/run/schema.h"

namespace shoal::run {

/// What is wrong with a value: "must be at least 1"; empty if nothing. The value has the alternative that
/// belongs to its field's type.
using Check = std::function<std::string(const Value&)>;

enum class Bound { open, closed };

Check anything();
/// Of whole numbers, both ends included.
Check between(std::int64_t low, std::int64_t high);
Check at_least(std::int64_t low);
/// The check of a whole number that may also be 0.
Check or_zero(Check check);
/// Of numbers, low and high with the bounds as given; NaN and infinity never pass.
Check range(Bound low_bound, double low, double high, Bound high_bound);
Check not_negative();
Check positive();
/// Of texts; names the nearest of the words.
Check one_of(std::vector<std::string> words);
/// The check of a text that may also be empty.
Check or_empty(Check check);
Check sha256_or_empty();
/// Megabits per second, or 0. Within what a join may say (collective::kMaximumBandwidth).
Check line_rate();
/// A name that goes into keys, file names and messages.
Check plain_name(std::size_t maximum);
/// Of a list of addresses; says what is wrong with each of them.
Check endpoints();
/// Of a convolution; group normalisation has 8 groups.
Check filters();
/// Of an optimizer: two numbers from 0 to below 1.
Check betas();
/// Blocks in each stage of a ResNet: none, or 1 to 8 whole numbers from 1 to 100.
Check depths();
/// From and to: two shares above 0 and at most 1, the smaller first.
Check shares();
/// From and to: two lengths from 0 to 100 pixels, the smaller first.
Check pixel_range();

/// A number as it stands in a run file: with a point.
std::string number_text(double number);
/// A text as it stands in a run file.
std::string in_quotes(std::string_view text);

}  // namespace shoal::run
