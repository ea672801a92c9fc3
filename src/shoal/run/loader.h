// Builds a RunDefinition from a file and overrides, and remembers where each value came from, so that every
// problem can be told with its place, all at once.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "shoal/run/definition.h"
#include "shoal/run/schema.h"

namespace shoal::run {

class Loader {
  public:
    /// @param file  as the user named it; empty when there is none.
    explicit Loader(std::string file) : file_(std::move(file)) {}

    /// @param folder  where relative paths start.
    void read_file(std::string_view toml, const std::filesystem::path& folder);
    void apply(const std::vector<Override>& overrides);
    /// Checks what concerns several values, then returns the definition or throws all problems.
    RunDefinition finish(Purpose purpose);

  private:
    struct Reader;  // walks the TOML tree; keeps toml++ out of this header
    struct Place {
        unsigned line = 0, column = 0;  ///< 0: not from the file
        std::string origin;             ///< of an override
    };
    struct Problem {
        Place place;
        std::string text;
    };

    void problem(Place place, std::string text);
    /// At the place of a value, or of none when it is a default.
    void problem_at(const std::string& name, std::string text);
    void set(const Field& field, Value value, Place place);
    void apply_one(const Override& override_);

    void check_presence(Purpose purpose);
    void check_model_and_data(Purpose purpose);
    void check_model_sizes();
    void check_groups();
    void check_numbers(Purpose purpose);
    [[noreturn]] void throw_problems();

    std::string file_;
    RunDefinition definition_;
    std::map<std::string, Place> places_;  ///< "section.key" of every value that was given
    std::vector<Problem> problems_;
};

}  // namespace shoal::run
