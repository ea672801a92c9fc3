// Saddle problems that come as TorchScript, made by examples/own_saddle/make_saddle.py and by small scripts
// here.
#include "shoal/nn/script_saddle.h"

#include "data/expect_error.h"
#include "nn/python.h"

#include <cmath>

#include "shoal/variational/run_method.h"

namespace shoal::nn {
namespace {

using namespace testing_support;
using data::testing_support::temporary;
using data::testing_support::write_text;
using variational::Vector;

std::string make_saddle(const std::string& kind) {
    const auto file = temporary(kind + ".pt");
    python(std::string(SHOAL_EXAMPLES) + "/own_saddle/make_saddle.py " + kind + " " + file.string());
    return file.string();
}

/// Files of classes of these bodies, exported as they are, by one interpreter.
std::vector<std::string> scripts(const std::vector<std::string>& bodies) {
    const auto source = temporary("saddles.py");
    std::string program = "import torch\nfrom torch import Tensor, nn\n";
    std::vector<std::string> files;
    for (const std::string& body : bodies) {
        const std::string number = std::to_string(files.size());
        files.push_back(temporary("saddle" + number + ".pt").string());
        program += "class P" + number + "(nn.Module):\n" + body + "\ntorch.jit.script(P" + number +
                   "()).save('" + files.back() + "')\n";
    }
    write_text(source, program);
    python(source.string());
    return files;
}

std::string script(const std::string& body) {
    return scripts({body}).front();
}

double distance(const Vector& a, const Vector& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(sum);
}

TEST(ExampleSaddle, OfTwoFunctionsIsSolvedWithStepsFromItsConstants) {
    const auto problem = load_script_saddle(make_saddle("auction"));
    EXPECT_EQ(problem->devices(), 8U);
    EXPECT_EQ(problem->dimension(), 40U);
    ASSERT_TRUE(problem->constants());
    EXPECT_EQ(problem->constants()->monotonicity, 1);
    EXPECT_GT(problem->constants()->device_lipschitz, problem->constants()->lipschitz);
    variational::MethodSettings settings;
    settings.method = "extragradient";
    variational::StopRule rule;
    rule.iterations = 500;
    const auto residual = [&](const variational::Method& method) {
        return variational::norm(full_operator(*problem, method.point()));
    };
    rule.error = 1e-10;
    const auto trajectory = run_in_process(*problem, settings, rule, residual);
    EXPECT_TRUE(trajectory.reached);
    // Linear and strongly monotone: the operator's differences are bounded by the constants that the file
    // states.
    const Vector at_zero = full_operator(*problem, problem->start());
    const Vector at_end = full_operator(*problem, trajectory.point);
    const double moved = distance(trajectory.point, problem->start());
    EXPECT_LE(distance(at_end, at_zero), problem->constants()->lipschitz * moved * (1 + 1e-9));
    EXPECT_GE(distance(at_end, at_zero), problem->constants()->monotonicity * moved * (1 - 1e-9));
}

TEST(ExampleSaddle, OfOneFunctionWithSignsHasTheSolutionThatItStates) {
    const auto problem = load_script_saddle(make_saddle("ridge"));
    EXPECT_EQ(problem->dimension(), 40U);
    ASSERT_TRUE(problem->solution());
    EXPECT_LT(variational::norm(full_operator(*problem, *problem->solution())), 1e-12);
    EXPECT_GT(variational::norm(full_operator(*problem, problem->start())), 1);
    EXPECT_FALSE(problem->constants());
}

TEST(ScriptSaddle, EvaluatesTheGradientsOfBothPlayersByTheirOwnVariables) {
    const auto problem = load_script_saddle(script(R"(
    def __init__(self):
        super().__init__()
        self.devices = 2
        self.start_x = torch.tensor([1.0, 2.0], dtype=torch.float64)
        self.start_y = torch.tensor([3.0], dtype=torch.float64)
    @torch.jit.export
    def first(self, x: Tensor, y: Tensor, device: int) -> Tensor:
        return (device + 1) * (x * x).sum() * y[0]
    @torch.jit.export
    def second(self, x: Tensor, y: Tensor, device: int) -> Tensor:
        return x[0] * (y * y).sum() + x[1] * x[1]
)"));
    EXPECT_EQ(problem->start(), (Vector{1, 2, 3}));
    Vector value(3);
    problem->evaluate(0, problem->start(), value);
    EXPECT_EQ(value, (Vector{6, 12, 6}));
    problem->evaluate(1, problem->start(), value);
    EXPECT_EQ(value, (Vector{12, 24, 6}));
}

TEST(ScriptSaddle, HasAZeroWhereAPlayerDoesNotDependOnItsVariable) {
    const auto problem = load_script_saddle(script(R"(
    def __init__(self):
        super().__init__()
        self.devices = 1
        self.start = torch.tensor([1.0, 2.0], dtype=torch.float64)
        self.sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
    def forward(self, z: Tensor, device: int) -> Tensor:
        return z[1] * 3
)"));
    Vector value(2);
    problem->evaluate(0, problem->start(), value);
    EXPECT_EQ(value, (Vector{0, -3}));
}

TEST(ScriptSaddle, SaysWhatIsWrongWithAFile) {
    const auto refuses = [](const std::string& file, const std::string& word) {
        expect_error([&] { load_script_saddle(file); }, ErrorKind::bad_input, word);
    };
    refuses("/nowhere/at_all.pt", "does not exist");
    const auto text = temporary("text.pt");
    write_text(text, "no TorchScript");
    refuses(text.string(), "torch.jit.script");
    const std::string start = R"(
    def __init__(self):
        super().__init__()
)";
    const std::string forward = R"(
    def forward(self, z: Tensor, device: int) -> Tensor:
        return (z * z).sum()
)";
    const std::string tensor = "        self.start = torch.tensor([1.0, 2.0], dtype=torch.float64)\n";
    const std::string sign = "        self.sign = torch.tensor([1.0, -1.0], dtype=torch.float64)\n";
    const std::string devices = "        self.devices = 2\n";
    const std::string all = start + tensor + sign + devices;
    const std::vector<std::pair<std::string, std::string>> wrong = {
        {start + tensor + devices, "'first' and 'second'"},
        {start + tensor + sign + forward, "devices"},
        {start + tensor + sign + "        self.devices = 0\n" + forward, "0 devices"},
        {start + sign + devices + forward, "'start'"},
        {start + tensor + devices + forward, "'sign'"},
        {start + tensor + devices + "        self.sign = torch.ones(3, dtype=torch.float64)\n" + forward,
         "another length"},
        {start + tensor + devices + "        self.sign = torch.zeros(2, dtype=torch.float64)\n" + forward,
         "not 1 or -1"},
        {start + "        self.start = torch.ones(2)\n" + sign + devices + forward, "float64"},
        {all + "        self.lipschitz = -1.0\n" + forward, "'lipschitz'"},
        {all + "        self.solution = torch.ones(3, dtype=torch.float64)\n" + forward, "solution"},
        {all + "\n    def forward(self, z: Tensor, device: int) -> Tensor:\n        return z\n",
         "one float64"},
        {all + "\n    def forward(self, z: Tensor, device: int) -> Tensor:\n        return z[5]\n",
         "fails in forward"},
    };
    std::vector<std::string> bodies;
    for (const auto& [body, word] : wrong) bodies.push_back(body);
    const std::vector<std::string> files = scripts(bodies);
    for (std::size_t i = 0; i < wrong.size(); ++i) refuses(files[i], wrong[i].second);
}

}  // namespace
}  // namespace shoal::nn
