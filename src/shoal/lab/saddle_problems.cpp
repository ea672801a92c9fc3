#include "shoal/lab/saddle_problems.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <numeric>
#include <string_view>

#include "shoal/base/error.h"
#include "shoal/data/idx_file.h"
#include "shoal/data/image_dataset.h"
#include "shoal/nn/script_saddle.h"
#include "shoal/variational/bilinear.h"
#include "shoal/variational/matrix_game.h"
#include "shoal/variational/quadratic_game.h"
#include "shoal/variational/run_method.h"

namespace shoal::lab {
namespace {

using variational::Samples;

constexpr std::uint8_t kPullover = 2, kCoat = 4;

/// Until the operator is as small as rounding lets it be.
variational::Vector solve_by_extragradient(const variational::Problem& problem) {
    variational::MethodSettings settings;
    settings.method = "extragradient";
    variational::StopRule rule;
    rule.iterations = 50'000;
    rule.error = 1e-13;
    rule.every = rule.iterations;
    const double at_start = variational::norm(full_operator(problem, problem.start()));
    const auto error = [&](const variational::Method& method) {
        return variational::norm(full_operator(problem, method.point())) / at_start;
    };
    return run_in_process(problem, settings, rule, error).point;
}

std::unique_ptr<variational::Problem> make_regression(const ProblemChoice& choice) {
    const std::filesystem::path folder = choice.data.empty() ? data::kFashionMnistFolder : choice.data;
    Samples samples = std::filesystem::is_regular_file(folder) ? read_libsvm(folder) : read_garments(folder);
    normalise(samples);
    variational::RegressionSettings settings;
    settings.devices = choice.devices;
    auto problem = std::make_unique<variational::RobustRegression>(std::move(samples), settings);
    problem->set_solution(solve_by_extragradient(*problem));
    return problem;
}

/// A user's own problem, with a solution that was found here if it states none.
class Solved final : public variational::Problem {
  public:
    explicit Solved(std::unique_ptr<variational::Problem> problem) : problem_(std::move(problem)) {
        solution_ = problem_->solution();
        if (solution_) return;
        if (!problem_->constants())
            throw Error(ErrorKind::bad_input,
                        "problem " + problem_->name() +
                            " states neither a solution nor a 'lipschitz' from which a step size would "
                            "follow to find one");
        solution_ = solve_by_extragradient(*problem_);
    }
    std::string name() const override { return problem_->name(); }
    std::size_t dimension() const override { return problem_->dimension(); }
    std::size_t devices() const override { return problem_->devices(); }
    void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const override {
        problem_->evaluate(device, z, value);
    }
    std::optional<variational::Constants> constants() const override { return problem_->constants(); }
    variational::Vector start() const override { return problem_->start(); }
    std::optional<variational::Vector> solution() const override { return solution_; }

  private:
    std::unique_ptr<variational::Problem> problem_;
    std::optional<variational::Vector> solution_;
};

std::unique_ptr<variational::Problem> make_script(const std::string& file) {
    return std::make_unique<Solved>(nn::load_script_saddle(file));
}

/// One line of a LIBSVM file.
struct SparseSample {
    double target = 0;
    std::vector<std::pair<std::size_t, double>> features;  // by index from 1
};

class LineReader {
  public:
    LineReader(const std::filesystem::path& file, std::size_t number, std::string_view text)
        : file_(file), number_(number), rest_(text) {}

    SparseSample sample() {
        SparseSample result;
        result.target = this->number<double>(word());
        for (std::string_view pair = word(); !pair.empty(); pair = word()) {
            const std::size_t colon = pair.find(':');
            if (colon == std::string_view::npos) refuse("'" + std::string(pair) + "' is no INDEX:VALUE");
            const auto index = this->number<std::size_t>(pair.substr(0, colon));
            const std::size_t before = result.features.empty() ? 0 : result.features.back().first;
            if (index <= before || index > kMaximumFeatures)
                refuse(fmt::format("index {} does not lie in {} to {}", index, before + 1, kMaximumFeatures));
            result.features.emplace_back(index, this->number<double>(pair.substr(colon + 1)));
        }
        return result;
    }

  private:
    std::string_view word() {
        const std::size_t begin = std::min(rest_.find_first_not_of(" \t\r"), rest_.size());
        const std::size_t end = std::min(rest_.find_first_of(" \t\r", begin), rest_.size());
        const std::string_view found = rest_.substr(begin, end - begin);
        rest_.remove_prefix(end);
        return found;
    }

    template <typename Number>
    Number number(std::string_view text) const {
        if (text.starts_with('+')) text.remove_prefix(1);
        Number value{};
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size() ||
            !std::isfinite(static_cast<double>(value)))
            refuse("'" + std::string(text) + "' is no number");
        return value;
    }

    [[noreturn]] void refuse(const std::string& why) const {
        throw Error(ErrorKind::bad_input, fmt::format("{}:{}: {}", file_.string(), number_, why));
    }

    const std::filesystem::path& file_;
    std::size_t number_;
    std::string_view rest_;
};

}  // namespace

Samples read_garments(const std::filesystem::path& folder) {
    const data::IdxArray images = data::read_idx(folder, "t10k-images-idx3-ubyte", 3);
    const data::IdxArray labels = data::read_idx(folder, "t10k-labels-idx1-ubyte", 1);
    const std::size_t count = images.sizes[0], height = images.sizes[1], width = images.sizes[2];
    if (labels.sizes[0] != count)
        throw Error(ErrorKind::bad_input, folder.string() + ": there are more images than labels, or fewer");
    std::vector<std::size_t> chosen;
    for (const std::uint8_t label : {kPullover, kCoat})
        for (std::size_t i = 0; i < count; ++i)
            if (labels.values[i] == label) chosen.push_back(i);
    Samples samples;
    samples.name = "pullovers and coats of " + folder.filename().string();
    const std::size_t rows = height / 2, columns = width / 2;
    samples.features = variational::Matrix(chosen.size(), rows * columns);
    for (std::size_t n = 0; n < chosen.size(); ++n) {
        const std::uint8_t* image = images.values.data() + chosen[n] * height * width;
        for (std::size_t i = 0; i < 2 * rows; ++i)
            for (std::size_t j = 0; j < 2 * columns; ++j)
                samples.features(n, i / 2 * columns + j / 2) += image[i * width + j] / (4 * 255.0);
        samples.targets.push_back(labels.values[chosen[n]] == kCoat ? 1 : 0);
    }
    return samples;
}

Samples read_libsvm(const std::filesystem::path& file) {
    std::ifstream input(file);
    if (!input) throw Error(ErrorKind::bad_input, "cannot read " + file.string());
    std::vector<SparseSample> sparse;
    std::size_t features = 0, number = 0;
    for (std::string line; std::getline(input, line);) {
        ++number;
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        sparse.push_back(LineReader(file, number, line).sample());
        if (!sparse.back().features.empty())
            features = std::max(features, sparse.back().features.back().first);
    }
    std::stable_sort(sparse.begin(), sparse.end(),
                     [](const SparseSample& a, const SparseSample& b) { return a.target < b.target; });
    Samples samples;
    samples.name = file.filename().string();
    samples.features = variational::Matrix(sparse.size(), features);
    for (std::size_t n = 0; n < sparse.size(); ++n) {
        samples.targets.push_back(sparse[n].target);
        for (const auto& [index, value] : sparse[n].features) samples.features(n, index - 1) = value;
    }
    return samples;
}

nlohmann::json json_of(const ProblemChoice& choice) {
    return {{"name", choice.name},
            {"devices", choice.devices},
            {"size", choice.size},
            {"regularisation", choice.regularisation},
            {"homogeneous", choice.homogeneous},
            {"data", choice.data.string()},
            {"seed", choice.seed}};
}

ProblemChoice problem_choice_of(const nlohmann::json& json) {
    ProblemChoice choice;
    choice.name = json.at("name");
    choice.devices = json.at("devices");
    choice.size = json.at("size");
    choice.regularisation = json.at("regularisation");
    choice.homogeneous = json.at("homogeneous");
    choice.data = json.at("data").get<std::string>();
    choice.seed = json.at("seed");
    return choice;
}

std::unique_ptr<variational::Problem> make_problem(const ProblemChoice& choice) {
    if (choice.name == "bilinear") {
        variational::BilinearSettings settings;
        settings.devices = choice.devices;
        if (choice.size > 0) settings.dimension = choice.size;
        if (choice.regularisation >= 0) settings.regularisation = choice.regularisation;
        settings.homogeneous = choice.homogeneous;
        settings.seed = choice.seed;
        return std::make_unique<variational::Bilinear>(settings);
    }
    if (choice.name == "game") {
        variational::QuadraticGameSettings settings;
        settings.devices = choice.devices;
        if (choice.size > 0) settings.dimension = choice.size;
        settings.seed = choice.seed;
        return std::make_unique<variational::QuadraticGame>(settings);
    }
    if (choice.name == "burglar") {
        variational::BurglarSettings settings;
        settings.devices = choice.devices;
        if (choice.size > 0) settings.houses = choice.size;
        settings.seed = choice.seed;
        return std::make_unique<variational::PolicemanAndBurglar>(settings);
    }
    if (choice.name == "regression") return make_regression(choice);
    if (is_script(choice.name)) return make_script(choice.name);
    throw Error(ErrorKind::invalid_argument,
                "unknown problem '" + choice.name + "'; there are bilinear, game, regression and burglar");
}

}  // namespace shoal::lab
