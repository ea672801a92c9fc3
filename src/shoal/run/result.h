// What an experiment or a benchmark leaves behind: a JSON file, a picture, and one line for each demand that
// it was held against.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace shoal::run {

/// The flags that every `shoal lab` and `shoal bench` command understands.
struct ResultOptions {
    std::filesystem::path json;  ///< --json FILE
    std::filesystem::path plot;  ///< --plot FILE.png, or .svg
    bool check = false;          ///< --check: exit non-zero where a demand is not met
    bool quick = false;          ///< --quick: a size that ends within a minute
};

/// Collects the figures of one run. Not thread-safe.
class Result {
  public:
    Result(std::string name, ResultOptions options);

    nlohmann::json& json() { return json_; }

    /// Holds a figure against its bound; `unit` is for display. Records it under "demands".
    void demand_at_most(const std::string& what, double figure, double bound, const std::string& unit = {});
    void demand_at_least(const std::string& what, double figure, double bound, const std::string& unit = {});
    void demand(const std::string& what, bool met);

    /// Writes the JSON file (atomically) when one was asked for, prints the demand lines with --check, and
    /// returns the exit code: 0, or 1 where --check was given and a demand is short.
    int finish();

  private:
    struct Demand {
        std::string what, figure, bound;
        bool met;
    };
    std::string name_;
    ResultOptions options_;
    nlohmann::json json_;
    std::vector<Demand> demands_;
};

/// One curve of a picture.
struct Curve {
    std::string title;
    std::vector<double> x, y;
    bool points = false;  ///< marks instead of a line
};

struct Mark {
    double x;
    std::string text;
};

struct Picture {
    std::string title, x_label, y_label;
    std::vector<Curve> curves;
    std::vector<Mark> marks;  ///< vertical lines with a word, for events
};

/// Draws a PNG, or an SVG if the file is named so, with gnuplot. Throws Error(system) with what gnuplot said
/// if it fails or is missing.
void draw(const Picture& picture, const std::filesystem::path& file);
/// Several below each other in one file. Likewise.
void draw(const std::vector<Picture>& pictures, const std::filesystem::path& file);

}  // namespace shoal::run
