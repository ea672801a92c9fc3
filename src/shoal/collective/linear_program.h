// A linear program, row by row, solved by CLP.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace shoal::collective {

/// Maximises a sum of columns under linear rows. Numbers should be near 1: the solver's tolerance is 1e-9
/// absolute. Any thread; an object belongs to one at a time.
class LinearProgram {
  public:
    struct Term {
        int column = 0;
        double factor = 1;
    };

    /// A number between 0 and `upper` (may be infinite), worth `worth` each. Returns its index.
    int add_column(double upper, double worth);
    /// Demands lower <= sum of factor * column <= upper; either may be infinite. A column comes once.
    void add_row(double lower, std::span<const Term> terms, double upper);

    std::size_t columns() const { return upper_.size(); }
    std::size_t rows() const { return row_upper_.size(); }

    /// The best columns; nothing if there are none or no best ones.
    std::optional<std::vector<double>> maximise() const;

  private:
    std::vector<double> upper_, worth_;
    std::vector<double> row_lower_, row_upper_;
    std::vector<int> row_begins_ = {0}, columns_;
    std::vector<double> factors_;
};

}  // namespace shoal::collective
