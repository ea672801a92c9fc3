#include "shoal/collective/linear_program.h"

#include <Clp_C_Interface.h>
#include <memory>

namespace shoal::collective {
namespace {

constexpr double kTolerance = 1e-9;
constexpr int kOptimal = 0;

struct Deleter {
    void operator()(Clp_Simplex* model) const { Clp_deleteModel(model); }
};

}  // namespace

int LinearProgram::add_column(double upper, double worth) {
    upper_.push_back(upper);
    worth_.push_back(worth);
    return static_cast<int>(upper_.size()) - 1;
}

void LinearProgram::add_row(double lower, std::span<const Term> terms, double upper) {
    row_lower_.push_back(lower);
    row_upper_.push_back(upper);
    for (const Term& term : terms) {
        columns_.push_back(term.column);
        factors_.push_back(term.factor);
    }
    row_begins_.push_back(static_cast<int>(columns_.size()));
}

std::optional<std::vector<double>> LinearProgram::maximise() const {
    const std::unique_ptr<Clp_Simplex, Deleter> model(Clp_newModel());
    Clp_setLogLevel(model.get(), 0);
    Clp_setPrimalTolerance(model.get(), kTolerance);
    Clp_setDualTolerance(model.get(), kTolerance);
    Clp_setOptimizationDirection(model.get(), -1);
    Clp_resize(model.get(), 0, static_cast<int>(columns()));
    const std::vector<double> lower(columns(), 0);
    Clp_chgColumnLower(model.get(), lower.data());
    Clp_chgColumnUpper(model.get(), upper_.data());
    Clp_chgObjCoefficients(model.get(), worth_.data());
    Clp_addRows(model.get(), static_cast<int>(rows()), row_lower_.data(), row_upper_.data(),
                row_begins_.data(), columns_.data(), factors_.data());
    Clp_initialSolve(model.get());
    if (Clp_status(model.get()) != kOptimal) return std::nullopt;
    const double* solution = Clp_getColSolution(model.get());
    return std::vector<double>(solution, solution + columns());
}

}  // namespace shoal::collective
