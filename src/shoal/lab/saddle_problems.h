// The problems of `shoal lab bilinear` and `shoal lab saddle`, by name: every process of a run makes its own
// copy, the same everywhere.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "shoal/variational/problem.h"
#include "shoal/variational/robust_regression.h"

namespace shoal::lab {

struct ProblemChoice {
    std::string name = "bilinear";  ///< bilinear, game, regression, burglar, or a TorchScript file
    std::size_t devices = 10;       ///< a TorchScript file has its own number
    std::size_t size = 0;           ///< of x (bilinear, game) or houses; 0: what the experiment is made for
    double regularisation = -1;     ///< of bilinear: lambda; below 0: 1e-5
    bool homogeneous = false;       ///< of bilinear: devices that are the same
    std::filesystem::path data;  ///< of regression: a LIBSVM file, or a folder of IDX files; empty: Debian's
    std::uint64_t seed = 1;
};

nlohmann::json json_of(const ProblemChoice& choice);
/// Throws what nlohmann::json throws on something else.
ProblemChoice problem_choice_of(const nlohmann::json& json);

/// True for what is to be loaded as TorchScript.
inline bool is_script(std::string_view problem) {
    return problem.ends_with(".pt");
}

/// Throws Error(invalid_argument) on an unknown name or a size that makes no sense, Error(bad_input) on data
/// that cannot be read.
std::unique_ptr<variational::Problem> make_problem(const ProblemChoice& choice);

/// Two classes of the test images of Fashion-MNIST, pullovers (target 0) and coats (1), pixels averaged two
/// by two: 2,000 samples of 196 features, in the order of their class. Throws Error(bad_input).
variational::Samples read_garments(const std::filesystem::path& folder);

/// "TARGET INDEX:VALUE ...", a sample a line, indices from 1 and ascending, as a9a and its like come. Samples
/// are sorted by their targets, so that devices differ. Throws Error(bad_input) that names file and line;
/// more than kMaximumFeatures features are refused.
variational::Samples read_libsvm(const std::filesystem::path& file);
inline constexpr std::size_t kMaximumFeatures = 2000;

}  // namespace shoal::lab
