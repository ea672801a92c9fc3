#include "shoal/run/schema_checks.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fmt/format.h>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/net/network.h"

namespace shoal::run {

std::string number_text(double number) {
    std::string text = fmt::format("{}", number);
    if (text.find_first_of(".eni") == std::string::npos) text += ".0";
    return text;
}

std::string in_quotes(std::string_view text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            result += '\\';
            result += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            result += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        } else {
            result += c;
        }
    }
    return result + '"';
}

Check anything() {
    return [](const Value&) { return std::string(); };
}

Check between(std::int64_t low, std::int64_t high) {
    return [=](const Value& value) -> std::string {
        const std::int64_t number = std::get<std::int64_t>(value);
        if (number < low) return fmt::format("must be at least {}, not {}", low, number);
        if (number > high) return fmt::format("must be at most {}, not {}", high, number);
        return {};
    };
}

Check at_least(std::int64_t low) {
    return between(low, std::int64_t{1} << 52);
}

Check or_zero(Check check) {
    return [check = std::move(check)](const Value& value) {
        return std::get<std::int64_t>(value) == 0 ? std::string() : check(value);
    };
}

/// low and high with the bounds as given; NaN and infinity never pass.
Check range(Bound low_bound, double low, double high, Bound high_bound) {
    return [=](const Value& value) -> std::string {
        const double number = std::get<double>(value);
        if (!std::isfinite(number)) return fmt::format("must be a finite number, not {}", number);
        if (low_bound == Bound::closed ? number < low : number <= low)
            return fmt::format("must be {} {}, not {}",
                               low_bound == Bound::closed ? "at least" : "greater than", low, number);
        if (high_bound == Bound::closed ? number > high : number >= high)
            return fmt::format("must be {} {}, not {}", high_bound == Bound::closed ? "at most" : "less than",
                               high, number);
        return {};
    };
}

Check not_negative() {
    return range(Bound::closed, 0, 1e12, Bound::closed);
}
Check positive() {
    return range(Bound::open, 0, 1e12, Bound::closed);
}

Check one_of(std::vector<std::string> words) {
    return [words = std::move(words)](const Value& value) -> std::string {
        const std::string& word = std::get<std::string>(value);
        if (std::find(words.begin(), words.end(), word) != words.end()) return {};
        const std::string guess = nearest(word, words);
        return fmt::format("must be one of {}, not {}{}", fmt::join(words, ", "), in_quotes(word),
                           guess.empty() ? "" : " (did you mean " + guess + "?)");
    };
}

/// The check of a text that may also be empty.
Check or_empty(Check check) {
    return [check = std::move(check)](const Value& value) {
        return std::get<std::string>(value).empty() ? std::string() : check(value);
    };
}

Check sha256_or_empty() {
    return [](const Value& value) -> std::string {
        const std::string& text = std::get<std::string>(value);
        const bool fine = text.empty() || (text.size() == 64 &&
                                           text.find_first_not_of("0123456789abcdef") == std::string::npos);
        return fine ? "" : "must be 64 lower-case hexadecimal digits";
    };
}

/// Megabits per second, or 0. Within what a join may say (collective::kMaximumBandwidth).
Check line_rate() {
    return range(Bound::closed, 0, 1e9, Bound::closed);
}

/// A name that goes into keys, file names and messages.
Check plain_name(std::size_t maximum) {
    return [=](const Value& value) -> std::string {
        const std::string& text = std::get<std::string>(value);
        if (text.size() > maximum)
            return fmt::format("must have at most {} characters, not {}", maximum, text.size());
        for (const char c : text)
            if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.'))
                return "may have letters, digits, '-', '_' and '.' only, not " + in_quotes(std::string(1, c));
        return {};
    };
}

/// Says what is wrong with each of them.
Check endpoints() {
    return [](const Value& value) -> std::string {
        std::vector<std::string> wrong;
        for (const std::string& text : std::get<std::vector<std::string>>(value)) {
            try {
                if (net::Endpoint::parse(text).port == 0) wrong.push_back(in_quotes(text) + " has port 0");
            } catch (const Error&) {
                wrong.push_back(in_quotes(text) + " is no address of the form host:port");
            }
        }
        return fmt::format("{}", fmt::join(wrong, "; "));
    };
}

/// Group normalisation has 8 groups.
Check filters() {
    return [](const Value& value) -> std::string {
        const std::int64_t number = std::get<std::int64_t>(value);
        if (number >= 0 && number <= 4096 && number % 8 == 0) return {};
        return fmt::format("must be a multiple of 8 up to 4096, not {}", number);
    };
}

Check betas() {
    return [](const Value& value) -> std::string {
        const auto& numbers = std::get<std::vector<double>>(value);
        if (numbers.size() != 2) return fmt::format("must be two numbers, not {}", numbers.size());
        for (const double number : numbers)
            if (!(number >= 0 && number < 1))
                return fmt::format("each must be at least 0 and less than 1, not {}", number);
        return {};
    };
}

Check depths() {
    return [](const Value& value) -> std::string {
        const auto& numbers = std::get<std::vector<double>>(value);
        if (numbers.size() > 8)
            return fmt::format("must have at most 8 numbers, one a stage, not {}", numbers.size());
        for (const double number : numbers)
            if (!(number >= 1 && number <= 100 && number == std::floor(number)))
                return fmt::format("each must be a whole number from 1 to 100, not {}", number);
        return {};
    };
}

namespace {

Check ordered_pair(Bound low_bound, double low, double high) {
    return [=](const Value& value) -> std::string {
        const auto& numbers = std::get<std::vector<double>>(value);
        if (numbers.size() != 2) return fmt::format("must be two numbers, not {}", numbers.size());
        const Check each = range(low_bound, low, high, Bound::closed);
        for (const double number : numbers)
            if (std::string wrong = each(number); !wrong.empty()) return "each " + wrong;
        if (numbers[0] > numbers[1])
            return fmt::format("must have the smaller number first, not [{}, {}]", numbers[0], numbers[1]);
        return {};
    };
}

}  // namespace

Check shares() {
    return ordered_pair(Bound::open, 0, 1);
}

Check pixel_range() {
    return ordered_pair(Bound::closed, 0, 100);
}

}  // namespace shoal::run
